// A share of Azure Files with models, as the environment mounts it into replicas: to read, never to write.
//
// By SMB, Container Apps knows no way in but the account's key, which the environment keeps and no container sees; by NFS
// there is no key, and the environment's subnet is what lets it in.

@description('Container Apps environment of this resource group.')
param environmentName string

@description('Storage account of this resource group.')
param accountName string

@description('Share of it, whose folders are the models.')
param shareName string

@description('SMB, or NFS for an environment in a subnet that the account lets in, and a share of a premium account.')
@allowed(['SMB', 'NFS'])
param protocol string = 'SMB'

resource account 'Microsoft.Storage/storageAccounts@2026-04-01' existing = {
  name: accountName
}

resource environment 'Microsoft.App/managedEnvironments@2026-01-01' existing = {
  name: environmentName
}

resource share 'Microsoft.App/managedEnvironments/storages@2026-01-01' = {
  parent: environment
  name: 'models'
  properties: protocol == 'SMB'
    ? {
        azureFile: {
          accountName: accountName
          accountKey: account.listKeys().keys[0].value
          shareName: shareName
          accessMode: 'ReadOnly'
        }
      }
    : {
        nfsAzureFile: {
          server: '${accountName}.file.${az.environment().suffixes.storage}'
          shareName: '/${accountName}/${shareName}'
          accessMode: 'ReadOnly'
        }
      }
}
