using 'main.bicep'

// Set with `azd env set NAME VALUE`; azd asks for the first two.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'roo-vision')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param compute = readEnvironmentVariable('ROO_COMPUTE', 'cpu')
param createStorage = bool(readEnvironmentVariable('ROO_CREATE_STORAGE', 'true'))
param keyVaultName = readEnvironmentVariable('ROO_KEY_VAULT', '')
param alertEmails = json(readEnvironmentVariable('ROO_ALERT_EMAILS', '[]'))
