"""What ships: images, manifests, the Container Apps definition, workflows; compared with the settings and each other."""
