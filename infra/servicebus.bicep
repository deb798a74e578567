// The Service Bus namespace, and what of it pictures are received from and results are sent to.

@description('Name of the namespace.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object = {}

@description('Standard, or Premium for messages above 256 KB and private endpoints.')
@allowed(['Standard', 'Premium'])
param sku string = 'Standard'

@description('Messaging units of a Premium namespace.')
@allowed([1, 2, 4, 8, 16])
param units int = 1

@description('Disabled: private endpoints alone, and what Azure itself delivers with an identity (Event Grid). Premium only.')
@allowed(['Enabled', 'Disabled'])
param publicNetworkAccess string = 'Enabled'

@description('Queue that pictures are received from.')
param queue string

@description('Topic that pictures are received from in place of the queue. Empty: the queue.')
param topic string = ''

@description('Subscription of the topic.')
param subscription string

@description('Whether the queue, or subscription, has sessions.')
param sessions bool = false

@description('A second queue, whose pictures come after those of the first. Empty: none.')
param bulkQueue string = ''

@description('Queue that results are sent to.')
param resultsQueue string

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
    tier: sku
    capacity: sku == 'Premium' ? units : null
  }
  properties: {
    // Identities only: there is no key that could leak.
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicNetworkAccess
  }
}

resource network 'Microsoft.ServiceBus/namespaces/networkRuleSets@2026-01-01' = if (publicNetworkAccess == 'Disabled') {
  parent: namespace
  name: 'default'
  properties: {
    publicNetworkAccess: 'Disabled'
    defaultAction: 'Deny'
    // Event Grid has no private endpoint to deliver by; it comes with its topic's identity.
    trustedServiceAccessEnabled: true
  }
}

resource pictures 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = if (empty(topic)) {
  parent: namespace
  name: queue
  properties: {
    requiresSession: sessions
    // The worker plans with half of it and renews; a crashed replica's messages come back after a minute.
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: 'P1D'
    maxSizeInMegabytes: 5120
  }
}

resource bulkPictures 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = if (!empty(bulkQueue)) {
  parent: namespace
  name: empty(bulkQueue) ? 'none' : bulkQueue
  properties: {
    // As the first's, but that it has no sessions.
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: 'P1D'
    maxSizeInMegabytes: 5120
  }
}

resource pictureTopic 'Microsoft.ServiceBus/namespaces/topics@2026-01-01' = if (!empty(topic)) {
  parent: namespace
  name: empty(topic) ? 'none' : topic
  properties: {
    defaultMessageTimeToLive: 'P1D'
    maxSizeInMegabytes: 5120
  }
}

resource pictureSubscription 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2026-01-01' = if (!empty(topic)) {
  parent: pictureTopic
  name: subscription
  properties: {
    // As the queue's.
    requiresSession: sessions
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
    deadLetteringOnFilterEvaluationExceptions: true
  }
}

resource results 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = {
  parent: namespace
  name: resultsQueue
  properties: {
    // A redelivered picture gives a result with the same id. An hour is longer than ten deliveries take.
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT1H'
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: 'P7D'
    maxSizeInMegabytes: 5120
  }
}
