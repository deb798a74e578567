// What the identity of Event Grid's topic may do; named by its principal, as infra/roles.bicep explains.

@description('Principal of the topic\'s identity.')
param sender string

@description('Storage account of this resource group.')
param storageAccountName string

@description('Container for events that could not be delivered.')
param undeliveredContainer string

@description('Service Bus namespace of this resource group.')
param serviceBusName string

@description('Queue that it sends to.')
param queue string

@description('Topic in place of the queue. Empty: the queue.')
param topic string = ''

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  serviceBusDataSender: '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
}

resource serviceBus 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: serviceBusName
}

resource pictures 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' existing = if (empty(topic)) {
  parent: serviceBus
  name: queue
}

resource pictureTopic 'Microsoft.ServiceBus/namespaces/topics@2026-01-01' existing = if (!empty(topic)) {
  parent: serviceBus
  name: empty(topic) ? 'none' : topic
}

resource storage 'Microsoft.Storage/storageAccounts@2026-04-01' existing = {
  name: storageAccountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-04-01' existing = {
  parent: storage
  name: 'default'
}

resource undelivered 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-04-01' existing = {
  parent: blobs
  name: undeliveredContainer
}

resource sends 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (empty(topic)) {
  name: guid(pictures.id, sender, roles.serviceBusDataSender)
  scope: pictures
  properties: {
    principalId: sender
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

resource publishes 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(topic)) {
  name: guid(pictureTopic.id, sender, roles.serviceBusDataSender)
  scope: pictureTopic
  properties: {
    principalId: sender
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

resource keeps 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(undelivered.id, sender, roles.storageBlobDataContributor)
  scope: undelivered
  properties: {
    principalId: sender
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataContributor)
  }
}
