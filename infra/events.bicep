// A picture is put into a container: Event Grid tells the queue. No key anywhere: the topic has an identity of its own, which
// may send to that queue, and write what it could not deliver into one container.
//
// The worker understands the event as it comes (docs/queue.md).

@description('Beginning of the names.')
param name string

@description('Region of the storage account.')
param location string

@description('Tags.')
param tags object = {}

@description('Storage account of this resource group that has no system topic yet; an account has one at most.')
param storageAccountName string

@description('Container that pictures are put into. Nothing else in the account makes messages.')
param picturesContainer string

@description('Container for events that could not be delivered.')
param undeliveredContainer string

@description('Service Bus namespace of this resource group.')
param serviceBusName string

@description('Queue that gets a message for each picture.')
param queue string

@description('Topic in place of the queue. Empty: the queue.')
param topic string = ''

resource storage 'Microsoft.Storage/storageAccounts@2026-04-01' existing = {
  name: storageAccountName
}

resource serviceBus 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: serviceBusName
}

// Of its own, not one that is shared: a storage account that is closed lets only a system-assigned identity in.
resource events 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: '${name}-pictures'
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: storage.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

module roles 'event-roles.bicep' = {
  name: '${name}-event-roles'
  params: {
    sender: events.identity.principalId
    storageAccountName: storageAccountName
    undeliveredContainer: undeliveredContainer
    serviceBusName: serviceBusName
    queue: queue
    topic: topic
  }
}

// What is called when all of a blob is there; CreateFile of a hierarchical account comes before its content.
var whole = ['PutBlob', 'PutBlockList', 'CopyBlob', 'FlushWithClose', 'SftpCommit']

resource toTheQueue 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: events
  name: 'pictures'
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    deliveryWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      destination: empty(topic)
        ? {
            endpointType: 'ServiceBusQueue'
            properties: {
              resourceId: '${serviceBus.id}/queues/${queue}'
            }
          }
        : {
            endpointType: 'ServiceBusTopic'
            properties: {
              resourceId: '${serviceBus.id}/topics/${topic}'
            }
          }
    }
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated']
      // Without it each result in this account would be a picture to look at.
      subjectBeginsWith: '/blobServices/default/containers/${picturesContainer}/'
      advancedFilters: [
        {
          key: 'data.api'
          operatorType: 'StringIn'
          values: whole
        }
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: storage.id
          blobContainerName: undeliveredContainer
        }
      }
    }
  }
  // Azure tries the destination when the subscription is made.
  dependsOn: [roles]
}
