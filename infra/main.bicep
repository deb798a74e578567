// What `azd up` makes before it has an image: a resource group, and in it all of containerapp.bicep but the app. azd then
// builds the image in the registry, and deploys the app by roo-vision.bicepparam beside this file. docs/deployment.md
// goes through it.
targetScope = 'subscription'

@description('Name of azd\'s environment; part of the resource group\'s name.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of everything.')
param location string

@description('Resource group that is made.')
param resourceGroupName string = 'rg-${environmentName}'

@description('What a replica runs on; the environment is made for it.')
@allowed(['cpu', 'gpu-t4', 'gpu-a100'])
param compute string = 'cpu'

@description('Whether there is a storage account, into which pictures are put and answered.')
param createStorage bool = true

@description('Key Vault of that resource group with the API keys. Empty: nobody can ask over HTTP.')
param keyVaultName string = ''

@description('Whom Azure Monitor writes to when something is wrong. Empty: nobody.')
param alertEmails string[] = []

// By it azd finds what it made.
var tags = {
  'azd-env-name': environmentName
}

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: resourceGroupName
  location: location
  tags: tags
}

module ground '../containerapp.bicep' = {
  name: 'roo-vision'
  scope: group
  params: {
    location: location
    tags: tags
    compute: compute
    createStorage: createStorage
    keyVaultName: keyVaultName
    alertEmails: alertEmails
  }
}

@description('Where azd deploys to.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Where azd has the image built.')
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = ground.outputs.registry

@description('Namespace that robots send to.')
output SERVICEBUS_NAMESPACE string = ground.outputs.serviceBus

@description('Container that pictures are put into.')
output PICTURES_CONTAINER string = ground.outputs.pictures
