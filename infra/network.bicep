// A network without a way in from the internet but the Gateway's: subnets for AKS, for Container Apps and for private
// endpoints, the endpoints of the bus, the registry, the vault and the storage, and the zones in which their public names
// lead there. docs/deployment.md#private says what else it takes.
//
//   az deployment group create -g GROUP -f infra/network.bicep -p serviceBusName=… registryName=… keyVaultName=…

@description('Beginning of the names.')
param name string = 'roo-vision'

@description('Region.')
param location string = resourceGroup().location

@description('Tags.')
param tags object = {}

@description('Service Bus namespace of this resource group; Premium, because Standard has no private endpoints.')
param serviceBusName string

@description('Registry of this resource group; Premium as well.')
param registryName string

@description('Key Vault of this resource group.')
param keyVaultName string

@description('Storage account of this resource group. Empty: none.')
param storageAccountName string = ''

@description('Storage account of this resource group with a share of models. Empty: none.')
param modelsShareAccountName string = ''

@description('Addresses of the network; its subnets are cut from it.')
param addresses string = '10.42.0.0/16'

resource endpointsGuard 'Microsoft.Network/networkSecurityGroups@2025-09-01' = {
  name: '${name}-endpoints'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'from-this-network'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: 'VirtualNetwork'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          // HTTPS, AMQP over TLS, SMB and NFS.
          destinationPortRanges: ['443', '5671', '445', '2049']
        }
      }
      {
        name: 'nobody-else'
        properties: {
          priority: 200
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2025-09-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [addresses]
    }
    subnets: [
      {
        name: 'nodes'
        properties: {
          addressPrefix: cidrSubnet(addresses, 22, 0)
        }
      }
      {
        name: 'container-apps'
        properties: {
          addressPrefix: cidrSubnet(addresses, 23, 2)
          delegations: [
            {
              name: 'container-apps'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addresses, 24, 8)
          privateEndpointNetworkPolicies: 'Enabled'
          networkSecurityGroup: {
            id: endpointsGuard.id
          }
        }
      }
    ]
  }
}

var cloud = loadJsonContent('clouds.json')[az.environment().name]

var places = concat(
  [
    {
      name: 'servicebus'
      id: resourceId('Microsoft.ServiceBus/namespaces', serviceBusName)
      group: 'namespace'
      zone: 'privatelink.${cloud.bus}'
    }
    {
      name: 'registry'
      id: resourceId('Microsoft.ContainerRegistry/registries', registryName)
      group: 'registry'
      zone: 'privatelink${az.environment().suffixes.acrLoginServer}'
    }
    {
      name: 'vault'
      id: resourceId('Microsoft.KeyVault/vaults', keyVaultName)
      group: 'vault'
      zone: 'privatelink${replace(az.environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')}'
    }
  ],
  empty(storageAccountName)
    ? []
    : [
        {
          name: 'blob'
          id: resourceId('Microsoft.Storage/storageAccounts', storageAccountName)
          group: 'blob'
          zone: 'privatelink.blob.${az.environment().suffixes.storage}'
        }
      ],
  empty(modelsShareAccountName)
    ? []
    : [
        {
          name: 'file'
          id: resourceId('Microsoft.Storage/storageAccounts', modelsShareAccountName)
          group: 'file'
          zone: 'privatelink.file.${az.environment().suffixes.storage}'
        }
      ]
)

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for place in places: {
    name: place.zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (place, index) in places: {
    parent: zones[index]
    name: name
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2025-09-01' = [
  for place in places: {
    name: '${name}-${place.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: '${network.id}/subnets/endpoints'
      }
      privateLinkServiceConnections: [
        {
          name: place.name
          properties: {
            privateLinkServiceId: place.id
            groupIds: [place.group]
          }
        }
      ]
    }
  }
]

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-09-01' = [
  for (place, index) in places: {
    parent: endpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: place.name
          properties: {
            privateDnsZoneId: zones[index].id
          }
        }
      ]
    }
  }
]

@description('Subnet for AKS nodes: az aks create --vnet-subnet-id.')
output nodesSubnet string = '${network.id}/subnets/nodes'

@description('Subnet for containerapp.bicep, parameter subnetId.')
output containerAppsSubnet string = '${network.id}/subnets/container-apps'

@description('Addresses of the endpoints: endpointAddresses in the overlay\'s azure.yaml.')
output endpointAddresses string = cidrSubnet(addresses, 24, 8)
