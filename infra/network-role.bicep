// AKS puts its load balancers and nodes into a network that it did not make: its identity has to be let.

@description('Principal of the cluster\'s identity.')
param principal string

@description('Virtual network of this resource group.')
param networkName string

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var networkContributor = '4d97b98b-1d4f-4787-a291-c67834d212e7'

resource network 'Microsoft.Network/virtualNetworks@2025-09-01' existing = {
  name: networkName
}

resource joins 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(network.id, principal, networkContributor)
  scope: network
  properties: {
    principalId: principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', networkContributor)
  }
}
