// Who may do what, on Container Apps and on AKS: every role, each on the smallest thing that has it.
//
// An assignment's name is made from the identity's principal, not from its name: an identity that was deleted and made
// again is another principal, and Azure refuses to change the principal of an assignment that is there.

@description('Principal of the identity that the service runs as.')
param worker string

@description('Principal of the identity that asks for the queue\'s depth.')
param scaler string

@description('Principal that pulls the image. Left out: the scaler\'s, as on Container Apps.')
param puller string = scaler

@description('Principal that fetches the secrets. Left out: the scaler\'s, as on Container Apps.')
param secretsReader string = scaler

@description('Principal that fetches the certificate of AKS\' Gateway. Empty: none.')
param gateway string = ''

@description('Azure Monitor workspace of this resource group that the scaler asks for metrics. Empty: none.')
param metricsWorkspace string = ''

@description('Service Bus namespace of this resource group.')
param serviceBusName string

@description('Queue that pictures are received from.')
param queue string

@description('Topic in place of the queue. Empty: the queue.')
param topic string = ''

@description('Subscription of the topic.')
param subscription string

@description('The second queue. Empty: none.')
param bulkQueue string = ''

@description('Queue that results are sent to.')
param resultsQueue string

@description('Registry of this resource group that the image is pulled from.')
param registryName string

@description('Key Vault of this resource group. Empty: none.')
param keyVaultName string = ''

@description('Secret of it with the API keys; it must be there already.')
param apiKeysSecret string = 'roo-vision-api-keys'

@description('Secret of it that signs what is posted to a webhook; it must be there already. Empty: none.')
param webhookSecret string = ''

@description('Certificate of it for AKS\' Gateway; it must be there already.')
param certificate string = 'roo-vision'

@description('Storage account of this resource group for pictures and results. Empty: none.')
param storageAccountName string = ''

@description('Container that pictures are read from. Empty: all of the account.')
param picturesContainer string = ''

@description('Storage account of this resource group that models are pulled from. Empty: none.')
param modelsAccountName string = ''

@description('Container of it.')
param modelsContainer string = 'models'

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  acrPull: '7f951dda-4ed3-4680-a7ca-43fe172d538d'
  monitoringDataReader: 'b0d8363b-8ddd-447d-831f-62ca05bff136'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  serviceBusDataOwner: '090c5cfd-751d-490a-894a-3ce6f1109419'
  serviceBusDataReceiver: '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
  serviceBusDataSender: '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  storageBlobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
}

// ── Service Bus ─────────────────────────────────────────────────────────────────────────────────────────────────────

resource serviceBus 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: serviceBusName
}

resource pictures 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' existing = if (empty(topic)) {
  parent: serviceBus
  name: queue
}

resource bulkPictures 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' existing = if (!empty(bulkQueue)) {
  parent: serviceBus
  name: empty(bulkQueue) ? 'none' : bulkQueue
}

resource pictureTopic 'Microsoft.ServiceBus/namespaces/topics@2026-01-01' existing = if (!empty(topic)) {
  parent: serviceBus
  name: empty(topic) ? 'none' : topic
}

resource pictureSubscription 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2026-01-01' existing = if (!empty(topic)) {
  parent: pictureTopic
  name: subscription
}

resource results 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' existing = {
  parent: serviceBus
  name: resultsQueue
}

resource workerReceives 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (empty(topic)) {
  name: guid(pictures.id, worker, roles.serviceBusDataReceiver)
  scope: pictures
  properties: {
    principalId: worker
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
}

resource workerSubscribes 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(topic)) {
  name: guid(pictureSubscription.id, worker, roles.serviceBusDataReceiver)
  scope: pictureSubscription
  properties: {
    principalId: worker
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
}

resource workerReceivesBulk 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(bulkQueue)) {
  name: guid(bulkPictures.id, worker, roles.serviceBusDataReceiver)
  scope: bulkPictures
  properties: {
    principalId: worker
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
}

resource workerSends 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(results.id, worker, roles.serviceBusDataSender)
  scope: results
  properties: {
    principalId: worker
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

// To ask for a queue's depth takes the right to manage it (https://keda.sh/docs/latest/scalers/azure-service-bus/).
resource scalerCounts 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (empty(topic)) {
  name: guid(pictures.id, scaler, roles.serviceBusDataOwner)
  scope: pictures
  properties: {
    principalId: scaler
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataOwner)
  }
}

resource scalerCountsSubscription 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(topic)) {
  name: guid(pictureTopic.id, scaler, roles.serviceBusDataOwner)
  scope: pictureTopic
  properties: {
    principalId: scaler
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataOwner)
  }
}

resource scalerCountsBulk 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(bulkQueue)) {
  name: guid(bulkPictures.id, scaler, roles.serviceBusDataOwner)
  scope: bulkPictures
  properties: {
    principalId: scaler
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataOwner)
  }
}

resource metrics 'Microsoft.Monitor/accounts@2025-10-03' existing = if (!empty(metricsWorkspace)) {
  name: empty(metricsWorkspace) ? 'none' : metricsWorkspace
}

resource scalerReadsMetrics 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(metricsWorkspace)) {
  name: guid(metrics.id, scaler, roles.monitoringDataReader)
  scope: metrics
  properties: {
    principalId: scaler
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringDataReader)
  }
}

// ── Registry, vault, storage ────────────────────────────────────────────────────────────────────────────────────────

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' existing = {
  name: registryName
}

resource pulls 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, puller, roles.acrPull)
  scope: registry
  properties: {
    principalId: puller
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.acrPull)
  }
}

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' existing = if (!empty(keyVaultName)) {
  name: empty(keyVaultName) ? 'none' : keyVaultName
}

// One secret each, because the vault has both: who asks for keys must not read the certificate's private key, nor the other way round.
resource apiKeys 'Microsoft.KeyVault/vaults/secrets@2026-02-01' existing = if (!empty(keyVaultName)) {
  parent: vault
  name: apiKeysSecret
}

// A certificate's private key is read as the secret of its name.
resource certificateSecret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' existing = if (!empty(keyVaultName)) {
  parent: vault
  name: certificate
}

resource readsSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(keyVaultName)) {
  name: guid(apiKeys.id, secretsReader, roles.keyVaultSecretsUser)
  scope: apiKeys
  properties: {
    principalId: secretsReader
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}

resource webhookSigns 'Microsoft.KeyVault/vaults/secrets@2026-02-01' existing = if (!empty(keyVaultName) && !empty(webhookSecret)) {
  parent: vault
  name: empty(webhookSecret) ? 'none' : webhookSecret
}

resource readsWebhookSecret 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(keyVaultName) && !empty(webhookSecret)) {
  name: guid(webhookSigns.id, secretsReader, roles.keyVaultSecretsUser)
  scope: webhookSigns
  properties: {
    principalId: secretsReader
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}

resource gatewayReadsCertificate 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(keyVaultName) && !empty(gateway)) {
  name: guid(certificateSecret.id, gateway, roles.keyVaultSecretsUser)
  scope: certificateSecret
  properties: {
    principalId: gateway
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2026-04-01' existing = if (!empty(storageAccountName)) {
  name: empty(storageAccountName) ? 'none' : storageAccountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-04-01' existing = if (!empty(storageAccountName)) {
  parent: storage
  name: 'default'
}

resource picturesIn 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-04-01' existing = if (!empty(picturesContainer)) {
  parent: blobs
  name: empty(picturesContainer) ? 'none' : picturesContainer
}

resource resultsIn 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-04-01' existing = if (!empty(storageAccountName)) {
  parent: blobs
  name: resultsQueue
}

resource workerReadsBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName) && empty(picturesContainer)) {
  name: guid(storage.id, worker, roles.storageBlobDataReader)
  scope: storage
  properties: {
    principalId: worker
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataReader)
  }
}

resource workerReadsPictures 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName) && !empty(picturesContainer)) {
  name: guid(picturesIn.id, worker, roles.storageBlobDataReader)
  scope: picturesIn
  properties: {
    principalId: worker
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataReader)
  }
}

resource workerWritesResults 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName)) {
  name: guid(resultsIn.id, worker, roles.storageBlobDataContributor)
  scope: resultsIn
  properties: {
    principalId: worker
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataContributor)
  }
}

resource modelsStorage 'Microsoft.Storage/storageAccounts@2026-04-01' existing = if (!empty(modelsAccountName)) {
  name: empty(modelsAccountName) ? 'none' : modelsAccountName
}

resource modelsBlobs 'Microsoft.Storage/storageAccounts/blobServices@2026-04-01' existing = if (!empty(modelsAccountName)) {
  parent: modelsStorage
  name: 'default'
}

resource models 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-04-01' existing = if (!empty(modelsAccountName)) {
  parent: modelsBlobs
  name: modelsContainer
}

// This one container, and only to read: who releases models is somebody else.
resource workerReadsModels 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(modelsAccountName)) {
  name: guid(models.id, worker, roles.storageBlobDataReader)
  scope: models
  properties: {
    principalId: worker
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataReader)
  }
}
