// Containers for pictures, results and what could not be delivered, in an account that is made for them or there already.

@description('Storage account.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object = {}

@description('Whether the account is made here. Otherwise it must be in this resource group, with the container of pictures.')
param create bool

@description('How its data is kept: in one place, in three zones, or in two regions.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param sku string = 'Standard_LRS'

@description('Disabled: private endpoints alone, and Azure\'s own services that come with an identity (Event Grid).')
@allowed(['Enabled', 'Disabled'])
param publicNetworkAccess string = 'Enabled'

@description('Container that robots put pictures into. Empty: none.')
param picturesContainer string

@description('Container of large results and of annotated pictures.')
param resultsContainer string

@description('Container of events that could not be delivered. Empty: none.')
param undeliveredContainer string

@description('Days that a picture is kept.')
@minValue(1)
param picturesDays int = 7

@description('Days that results, and events that could not be delivered, are kept.')
@minValue(1)
param resultsDays int = 30

resource newAccount 'Microsoft.Storage/storageAccounts@2026-04-01' = if (create) {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  properties: {
    // Identities only, as on the bus.
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicNetworkAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicNetworkAccess == 'Enabled' ? 'Allow' : 'Deny'
    }
  }
}

resource account 'Microsoft.Storage/storageAccounts@2026-04-01' existing = {
  name: name
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-04-01' existing = {
  parent: account
  name: 'default'
}

var made = filter(
  [
    { name: create ? picturesContainer : '', days: picturesDays }
    { name: resultsContainer, days: resultsDays }
    { name: undeliveredContainer, days: resultsDays }
  ],
  container => !empty(container.name)
)

resource newContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-04-01' = [
  for container in made: {
    parent: blobs
    name: container.name
    dependsOn: [newAccount]
  }
]

// An account has one policy: that of an account which is there already is its owner's affair.
resource ends 'Microsoft.Storage/storageAccounts/managementPolicies@2026-04-01' = if (create) {
  parent: newAccount
  name: 'default'
  properties: {
    policy: {
      rules: [
        for container in made: {
          name: 'end-of-${container.name}'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: ['${container.name}/']
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterCreationGreaterThan: container.days
                }
              }
            }
          }
        }
      ]
    }
  }
}
