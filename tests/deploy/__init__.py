"""What ships: images, manifests, the Container Apps definition and workflows, compared with settings and each other."""
