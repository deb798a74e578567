using '../containerapp.bicep'

// The app itself, once azd has built its image. What main.bicepparam sets too is the same here, because the ground is
// deployed again with it; what only the app knows stands below.
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param tags = {
  'azd-env-name': readEnvironmentVariable('AZURE_ENV_NAME', 'roo-vision')
}
param compute = readEnvironmentVariable('ROO_COMPUTE', 'cpu')
param createStorage = bool(readEnvironmentVariable('ROO_CREATE_STORAGE', 'true'))
param keyVaultName = readEnvironmentVariable('ROO_KEY_VAULT', '')
param alertEmails = json(readEnvironmentVariable('ROO_ALERT_EMAILS', '[]'))

param image = readEnvironmentVariable('SERVICE_ROO_VISION_IMAGE_NAME', '')
param externalIngress = bool(readEnvironmentVariable('ROO_EXTERNAL_INGRESS', 'false'))
param minReplicas = int(readEnvironmentVariable('ROO_MIN_REPLICAS', '0'))
param maxReplicas = int(readEnvironmentVariable('ROO_MAX_REPLICAS', '50'))
