// Roo Vision on Azure Container Apps: 0 to 50 replicas by the depth of a Service Bus queue and by HTTP requests.
//
//   az deployment group create -g GROUP -f containerapp.bicep                            the ground: registry, bus, environment
//   az acr build -r REGISTRY -t roo-vision:v0.1.0 .                                       (REGISTRY is an output of the first)
//   az deployment group create -g GROUP -f containerapp.bicep -p image=REGISTRY.azurecr.io/roo-vision:v0.1.0
//
// docs/deployment.md goes through it. Values that are also in k8s/ are kept equal by tests/deploy.

// ── What is yours ───────────────────────────────────────────────────────────────────────────────────────────────────

@description('Name of the app, and the beginning of the names of what is made for it.')
@minLength(2)
@maxLength(24)
param name string = 'roo-vision'

@description('Region of everything. Serverless GPUs are offered in some regions only.')
param location string = resourceGroup().location

@description('Image to run. Empty: everything but the app is made, so that there is a registry to push the image to.')
param image string = ''

@description('What a replica runs on: 2 cores, or a serverless GPU (quota has to be asked for; use the CUDA image).')
@allowed(['cpu', 'gpu-t4', 'gpu-a100'])
param compute string = 'cpu'

@description('Whether people outside of the environment reach the app. Off, until you have decided who may ask (below).')
param externalIngress bool = false

@description('For a careful roll-out: the revision that keeps the rest of the traffic. Empty: the new one gets all, and replaces it.')
param stableRevision string = ''

@description('Per cent of the traffic that the new revision gets beside stableRevision.')
@minValue(0)
@maxValue(100)
param newRevisionWeight int = 10

// ── Who may ask over HTTP ───────────────────────────────────────────────────────────────────────────────────────────
// With neither keys nor tokens no picture is taken over HTTP, and the queue alone is worked off. docs/security.md explains.

@description('Key Vault of this resource group with the secret apiKeysSecret. Empty: nobody can ask with a key.')
param keyVaultName string = ''

@description('Secret with the API keys, one name:key a line, mounted as the file /mnt/secrets/api-keys.')
param apiKeysSecret string = 'roo-vision-api-keys'

@description('Client id (tokens of version 2.0) or api:// URI (1.0) of the app registration that Entra ID tokens are for. Empty: nobody can ask with a token.')
param entraAudience string = ''

@description('App roles or scopes of which a token must hold one, with commas.')
@minLength(1)
param entraRoles string = 'Predict'

@description('Tenant of which tokens are taken.')
param entraTenant string = tenant().tenantId

@description('Issuer of the tokens in place of the tenant: version 1.0 tokens, another cloud, another OpenID provider. Empty: the tenant.')
param entraIssuer string = ''

@description('Whether /metrics is answered without a key or token, for a collector inside of the environment. Leave it off where externalIngress is on.')
param metricsOpen bool = false

@description('Requests a second for each caller and replica. 0: no limit.')
@minValue(0)
param rateLimit int = 0

// ── Scaling ─────────────────────────────────────────────────────────────────────────────────────────────────────────

@description('Fewest replicas. 0: nothing runs, and nothing is paid, while there is no work; the next picture waits for a start.')
@minValue(0)
@maxValue(1000)
param minReplicas int = 0

@description('Most replicas. On a GPU the quota is the bound.')
@minValue(1)
@maxValue(1000)
param maxReplicas int = 50

@description('''Messages per replica: what the slowest that is planned for (10 pictures a second: large ones, half a core) does in
what is left of the 60 s that a result may take when the queue was looked at just before (10 s), then the autoscaler just
before (15 s), and the replica starts (15 s): 10 x 20. One with two cores does 60 to 150 a second; the shift change, 800
messages a minute, is one's work. docs/scaling.md.''')
@minValue(1)
param messageCount int = 200

@description('HTTP requests in flight per replica. At 60 pictures a second the last of 32 waits for half a second.')
@minValue(1)
param concurrentRequests int = 32

// ── What exists already, or is made here ────────────────────────────────────────────────────────────────────────────

@description('Whether the Service Bus namespace and its queues are made here. Otherwise they must be in this resource group.')
param createServiceBus bool = true

@description('Service Bus namespace, without .servicebus.windows.net.')
@minLength(6)
@maxLength(50)
param serviceBusName string = '${name}-${uniqueString(resourceGroup().id)}'

@description('Standard, or Premium for messages above 256 KB and private endpoints. Basic detects no duplicates.')
@allowed(['Standard', 'Premium'])
param serviceBusSku string = 'Standard'

@description('Disabled: registry and bus are reached by private endpoints alone (infra/network.bicep); both must be Premium.')
@allowed(['Enabled', 'Disabled'])
param publicNetworkAccess string = 'Enabled'

@description('Queue that pictures are received from.')
param queue string = 'pictures'

@description('Topic that pictures are received from in place of the queue, by a subscription. Empty: the queue.')
param topic string = ''

@description('Subscription of the topic.')
param subscription string = 'vision'

@description('Sessions that a replica receives at once, one message after the other in each. 0: the queue, or subscription, has no sessions.')
@minValue(0)
@maxValue(1024)
param sessions int = 0

@description('A second queue, whose pictures come after those of the queue (or subscription) above. Empty: none.')
param bulkQueue string = ''

@description('Per cent of the robots\' part that the second queue keeps while the first has work.')
@minValue(1)
@maxValue(99)
param bulkShare int = 10

@description('Queue that results are sent to.')
param resultsQueue string = 'results'

@description('Whether the registry is made here. Otherwise it must be in this resource group.')
param createRegistry bool = true

@description('Container registry that the image is pulled from.')
@minLength(5)
@maxLength(50)
param registryName string = 'roovision${uniqueString(resourceGroup().id)}'

@description('Standard, or Premium for private endpoints and other regions.')
@allowed(['Standard', 'Premium'])
param registrySku string = 'Standard'

@description('Regions, beside the registry\'s own, that it is copied to; Premium alone.')
param registryRegions string[] = []

@description('Whether the environment and its Log Analytics workspace are made here. Otherwise it must be in this resource group.')
param createEnvironment bool = true

@description('Container Apps environment.')
param environmentName string = '${name}-environment'

@description('Subnet of two hundred addresses or more, delegated to Microsoft.App/environments, for the environment; its replicas are then in several zones. Empty: none.')
param subnetId string = ''

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logDays int = 30

@description('Whether an Application Insights component is made for traces and log lines; docs/deployment.md says how the environment\'s agent is told of it.')
param applicationInsights bool = true

@description('Whom Azure Monitor writes to when messages wait and nothing runs, are dead-lettered or throttled. Empty: nobody, and no alerts are made.')
param alertEmails string[] = []

@description('Storage account of this resource group for pictures by link and for large results. Empty: none.')
param storageAccountName string = ''

@description('Storage account of this resource group that models are pulled from at the start. Empty: those in the image.')
param modelsAccountName string = ''

@description('Container of it, with a folder for each model.')
param modelsContainer string = 'models'

@description('Folder in it, so that each state of the models may have one of its own: changing it is a new revision. Empty: the whole container.')
param modelsFolder string = ''

// ── Facts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

var port = 8000
var registryServer = '${registryName}${az.environment().suffixes.acrLoginServer}'

// After SIGTERM: ROO_DRAIN_DELAY, the rest of ROO_GRACE_PERIOD to finish, and time to spare before the platform ends it.
var drainDelay = 5
var gracePeriod = 45
var terminationGracePeriod = 60

var sizes = {
  cpu: {
    profile: 'Consumption'
    profileType: 'Consumption'
    cpu: '2'
    memory: '4Gi'
    device: 'cpu'
    inflightBytes: 134217728
    decodeBytes: 469762048
    held: 32
    startupPeriod: 3
  }
  'gpu-t4': {
    profile: 'gpu-t4'
    profileType: 'Consumption-GPU-NC8as-T4'
    cpu: '8'
    memory: '56Gi'
    device: 'cuda'
    inflightBytes: 1073741824
    decodeBytes: 2147483648
    held: 128
    startupPeriod: 30
  }
  'gpu-a100': {
    profile: 'gpu-a100'
    profileType: 'Consumption-GPU-NC24-A100'
    cpu: '24'
    memory: '220Gi'
    device: 'cuda'
    inflightBytes: 1073741824
    decodeBytes: 2147483648
    held: 128
    startupPeriod: 30
  }
}
var size = sizes[compute]

// Built-in roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  acrPull: '7f951dda-4ed3-4680-a7ca-43fe172d538d'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  serviceBusDataOwner: '090c5cfd-751d-490a-894a-3ce6f1109419'
  serviceBusDataReceiver: '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
  serviceBusDataSender: '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  storageBlobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
}

// ── Identities ──────────────────────────────────────────────────────────────────────────────────────────────────────

// Who the service is: may receive pictures and send results, nothing else.
resource worker 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-worker'
  location: location
}

// Who scales it, pulls its image and fetches its secrets. Asking for a queue's depth takes the right to manage the
// queue, so this identity never enters the container (lifecycle None below).
resource scaler 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-scaler'
  location: location
}

// ── Service Bus ─────────────────────────────────────────────────────────────────────────────────────────────────────

resource newServiceBus 'Microsoft.ServiceBus/namespaces@2026-01-01' = if (createServiceBus) {
  name: serviceBusName
  location: location
  sku: {
    name: serviceBusSku
    tier: serviceBusSku
  }
  properties: {
    // Identities only: there is no key that could leak.
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicNetworkAccess
  }
}

resource newQueue 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = if (createServiceBus && empty(topic)) {
  parent: newServiceBus
  name: queue
  properties: {
    requiresSession: sessions > 0
    // The worker plans with half of it and renews; a crashed replica's messages come back after a minute.
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: 'P1D'
    maxSizeInMegabytes: 5120
  }
}

resource newBulkQueue 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = if (createServiceBus && !empty(bulkQueue)) {
  parent: newServiceBus
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

resource newTopic 'Microsoft.ServiceBus/namespaces/topics@2026-01-01' = if (createServiceBus && !empty(topic)) {
  parent: newServiceBus
  name: empty(topic) ? 'none' : topic
  properties: {
    defaultMessageTimeToLive: 'P1D'
    maxSizeInMegabytes: 5120
  }
}

resource newSubscription 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2026-01-01' = if (createServiceBus && !empty(topic)) {
  parent: newTopic
  name: subscription
  properties: {
    // As the queue's.
    requiresSession: sessions > 0
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
    deadLetteringOnFilterEvaluationExceptions: true
  }
}

resource newResultsQueue 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = if (createServiceBus) {
  parent: newServiceBus
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
  name: guid(pictures.id, worker.id, roles.serviceBusDataReceiver)
  scope: pictures
  properties: {
    principalId: worker.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
  dependsOn: [newQueue]
}

resource workerSubscribes 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(topic)) {
  name: guid(pictureSubscription.id, worker.id, roles.serviceBusDataReceiver)
  scope: pictureSubscription
  properties: {
    principalId: worker.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
  dependsOn: [newSubscription]
}

resource workerReceivesBulk 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(bulkQueue)) {
  name: guid(bulkPictures.id, worker.id, roles.serviceBusDataReceiver)
  scope: bulkPictures
  properties: {
    principalId: worker.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
  dependsOn: [newBulkQueue]
}

resource workerSends 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(results.id, worker.id, roles.serviceBusDataSender)
  scope: results
  properties: {
    principalId: worker.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
  dependsOn: [newResultsQueue]
}

resource scalerCounts 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (empty(topic)) {
  name: guid(pictures.id, scaler.id, roles.serviceBusDataOwner)
  scope: pictures
  properties: {
    principalId: scaler.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataOwner)
  }
  dependsOn: [newQueue]
}

resource scalerCountsSubscription 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(topic)) {
  name: guid(pictureTopic.id, scaler.id, roles.serviceBusDataOwner)
  scope: pictureTopic
  properties: {
    principalId: scaler.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataOwner)
  }
  dependsOn: [newSubscription]
}

resource scalerCountsBulk 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(bulkQueue)) {
  name: guid(bulkPictures.id, scaler.id, roles.serviceBusDataOwner)
  scope: bulkPictures
  properties: {
    principalId: scaler.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataOwner)
  }
  dependsOn: [newBulkQueue]
}

// ── Registry, vault, storage ────────────────────────────────────────────────────────────────────────────────────────

resource newRegistry 'Microsoft.ContainerRegistry/registries@2025-11-01' = if (createRegistry) {
  name: registryName
  location: location
  sku: {
    name: registrySku
  }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    publicNetworkAccess: publicNetworkAccess
  }
}

var copiedTo = createRegistry && registrySku == 'Premium' ? registryRegions : []

resource registryCopies 'Microsoft.ContainerRegistry/registries/replications@2025-11-01' = [
  for region in copiedTo: {
    parent: newRegistry
    name: region
    location: region
    properties: {}
  }
]

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' existing = {
  name: registryName
}

resource scalerPulls 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, scaler.id, roles.acrPull)
  scope: registry
  properties: {
    principalId: scaler.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.acrPull)
  }
  dependsOn: [newRegistry]
}

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' existing = if (!empty(keyVaultName)) {
  name: empty(keyVaultName) ? 'none' : keyVaultName
}

resource scalerReadsSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(keyVaultName)) {
  name: guid(vault.id, scaler.id, roles.keyVaultSecretsUser)
  scope: vault
  properties: {
    principalId: scaler.properties.principalId
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

resource resultsContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-04-01' = if (!empty(storageAccountName)) {
  parent: blobs
  name: resultsQueue
}

resource workerReadsBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName)) {
  name: guid(storage.id, worker.id, roles.storageBlobDataReader)
  scope: storage
  properties: {
    principalId: worker.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataReader)
  }
}

resource workerWritesResults 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName)) {
  name: guid(resultsContainer.id, worker.id, roles.storageBlobDataContributor)
  scope: resultsContainer
  properties: {
    principalId: worker.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataContributor)
  }
}

resource modelsStorage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = if (!empty(modelsAccountName)) {
  name: empty(modelsAccountName) ? 'none' : modelsAccountName
}

resource modelsBlobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' existing = if (!empty(modelsAccountName)) {
  parent: modelsStorage
  name: 'default'
}

resource models 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = if (!empty(modelsAccountName)) {
  parent: modelsBlobs
  name: modelsContainer
}

// This one container, and only to read: who releases models is somebody else.
resource workerReadsModels 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(modelsAccountName)) {
  name: guid(models.id, worker.id, roles.storageBlobDataReader)
  scope: models
  properties: {
    principalId: worker.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataReader)
  }
}

// ── Environment ─────────────────────────────────────────────────────────────────────────────────────────────────────

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' = if (createEnvironment) {
  name: '${name}-logs'
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: logDays
  }
}

module insights 'infra/insights.bicep' = if (createEnvironment && applicationInsights) {
  name: '${name}-insights'
  params: {
    name: '${name}-insights'
    location: location
    workspaceId: logs.id
  }
}

module alerts 'infra/alerts.bicep' = if (!empty(alertEmails)) {
  name: '${name}-alerts'
  params: {
    name: name
    serviceBusName: serviceBusName
    entity: empty(topic) ? queue : topic
    resultsQueue: resultsQueue
    emails: alertEmails
    backlog: messageCount * 10
  }
  dependsOn: [newQueue, newTopic, newResultsQueue]
}

resource newEnvironment 'Microsoft.App/managedEnvironments@2026-01-01' = if (createEnvironment) {
  name: environmentName
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: logs!.properties.customerId
        sharedKey: logs!.listKeys().primarySharedKey
      }
    }
    vnetConfiguration: empty(subnetId)
      ? null
      : {
          infrastructureSubnetId: subnetId
          internal: !externalIngress
        }
    zoneRedundant: !empty(subnetId)
    workloadProfiles: compute == 'cpu'
      ? [
          {
            name: 'Consumption'
            workloadProfileType: 'Consumption'
          }
        ]
      : [
          {
            name: 'Consumption'
            workloadProfileType: 'Consumption'
          }
          {
            name: size.profile
            workloadProfileType: size.profileType
          }
        ]
  }
}

// ── The app ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// What pictures are received from first.
var source = empty(topic) ? queue : '${topic}/subscriptions/${subscription}'

var environmentVariables = [
  { name: 'ROO_DEVICE', value: size.device }
  { name: 'ROO_SERVICEBUS_NAMESPACE', value: '${serviceBusName}.servicebus.windows.net' }
  { name: 'ROO_QUEUE', value: empty(bulkQueue) ? source : '${source},${bulkQueue}' }
  { name: 'ROO_RESULTS_QUEUE', value: resultsQueue }
  { name: 'ROO_REPLY_TO', value: resultsQueue }
  { name: 'ROO_QUEUE_HELD', value: string(size.held) }
  { name: 'ROO_MAX_INFLIGHT_BYTES', value: string(size.inflightBytes) }
  { name: 'ROO_MAX_DECODE_BYTES', value: string(size.decodeBytes) }
  { name: 'ROO_DRAIN_DELAY', value: string(drainDelay) }
  { name: 'ROO_GRACE_PERIOD', value: string(gracePeriod) }
  // Which of the identities the Azure SDK takes.
  { name: 'AZURE_CLIENT_ID', value: worker.properties.clientId }
]

// ROO_ENVIRONMENT=production: what is only fit for a laptop stops the start.
var keys = !empty(keyVaultName)
var tokens = !empty(entraAudience)
var auth = keys && tokens ? 'keys+entra' : (keys ? 'keys' : (tokens ? 'entra' : 'none'))
var callerVariables = [
  { name: 'ROO_ENVIRONMENT', value: 'production' }
  { name: 'ROO_AUTH', value: auth }
  { name: 'ROO_HTTP', value: keys || tokens ? 'true' : 'false' }
  { name: 'ROO_METRICS_OPEN', value: metricsOpen ? 'true' : 'false' }
  { name: 'ROO_RATE_LIMIT', value: string(rateLimit) }
]

var keyVariables = !keys
  ? []
  : [
      { name: 'ROO_API_KEYS_FILE', value: '/mnt/secrets/api-keys' }
    ]

var tokenVariables = !tokens
  ? []
  : [
      { name: 'ROO_ENTRA_AUDIENCE', value: entraAudience }
      { name: 'ROO_ENTRA_ROLES', value: entraRoles }
    ]

var tenantVariables = !tokens || !empty(entraIssuer)
  ? []
  : [
      { name: 'ROO_ENTRA_TENANT', value: entraTenant }
    ]

var issuerVariables = !tokens || empty(entraIssuer)
  ? []
  : [
      { name: 'ROO_ENTRA_ISSUER', value: entraIssuer }
    ]

var storageVariables = empty(storageAccountName)
  ? []
  : [
      { name: 'ROO_BLOB_ACCOUNTS', value: 'https://${storageAccountName}.blob.${az.environment().suffixes.storage}' }
      { name: 'ROO_RESULTS_CONTAINER', value: 'https://${storageAccountName}.blob.${az.environment().suffixes.storage}/${resultsQueue}' }
    ]

var modelsUrl = 'https://${modelsAccountName}.blob.${az.environment().suffixes.storage}/${modelsContainer}'

var modelsVariables = empty(modelsAccountName)
  ? []
  : [
      { name: 'ROO_MODELS_SOURCE', value: empty(modelsFolder) ? modelsUrl : '${modelsUrl}/${modelsFolder}' }
      { name: 'ROO_MODELS_CACHE', value: '/mnt/models' }
    ]

var sessionVariables = sessions == 0
  ? []
  : [
      { name: 'ROO_QUEUE_SESSIONS', value: '${source}=${sessions}' }
    ]

var bulkVariables = empty(bulkQueue)
  ? []
  : [
      { name: 'ROO_QUEUE_SHARE', value: '${bulkQueue}=0.${padLeft(bulkShare, 2, '0')}' }
    ]

var secretMounts = !keys
  ? []
  : [
      {
        volumeName: 'secrets'
        mountPath: '/mnt/secrets'
      }
    ]

var secretVolumes = !keys
  ? []
  : [
      {
        name: 'secrets'
        storageType: 'Secret'
        secrets: [
          {
            secretRef: 'api-keys'
            path: 'api-keys'
          }
        ]
      }
    ]

// It outlives a restart of the container, and not the replica.
var modelsMounts = empty(modelsAccountName)
  ? []
  : [
      {
        volumeName: 'models'
        mountPath: '/mnt/models'
      }
    ]

var modelsVolumes = empty(modelsAccountName)
  ? []
  : [
      {
        name: 'models'
        storageType: 'EmptyDir'
      }
    ]

// What the scaler counts; of several rules the one that wants most replicas decides.
var counted = empty(topic)
  ? {
      queueName: queue
    }
  : {
      topicName: topic
      subscriptionName: subscription
    }

var bulkRules = empty(bulkQueue)
  ? []
  : [
      {
        name: 'bulk-queue'
        custom: {
          type: 'azure-servicebus'
          identity: scaler.id
          metadata: {
            namespace: serviceBusName
            queueName: bulkQueue
            messageCount: string(messageCount)
            activationMessageCount: '0'
          }
        }
      }
    ]

resource app 'Microsoft.App/containerApps@2026-01-01' = if (!empty(image)) {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${worker.id}': {}
      '${scaler.id}': {}
    }
  }
  properties: {
    environmentId: resourceId('Microsoft.App/managedEnvironments', environmentName)
    workloadProfileName: size.profile
    configuration: {
      activeRevisionsMode: empty(stableRevision) ? 'Single' : 'Multiple'
      maxInactiveRevisions: 5
      identitySettings: [
        {
          identity: worker.id
          lifecycle: 'Main'
        }
        {
          identity: scaler.id
          lifecycle: 'None'
        }
      ]
      registries: [
        {
          server: registryServer
          identity: scaler.id
        }
      ]
      secrets: empty(keyVaultName)
        ? []
        : [
            {
              name: 'api-keys'
              keyVaultUrl: 'https://${keyVaultName}${az.environment().suffixes.keyvaultDns}/secrets/${apiKeysSecret}'
              identity: scaler.id
            }
          ]
      ingress: {
        external: externalIngress
        targetPort: port
        transport: 'auto'
        allowInsecure: false
        traffic: empty(stableRevision)
          ? [
              {
                latestRevision: true
                weight: 100
              }
            ]
          : [
              {
                revisionName: stableRevision
                weight: 100 - newRevisionWeight
              }
              {
                latestRevision: true
                weight: newRevisionWeight
              }
            ]
      }
    }
    template: {
      terminationGracePeriodSeconds: terminationGracePeriod
      containers: [
        {
          name: 'roo-vision'
          image: image
          env: concat(
            environmentVariables,
            callerVariables,
            keyVariables,
            tokenVariables,
            tenantVariables,
            issuerVariables,
            storageVariables,
            modelsVariables,
            sessionVariables,
            bulkVariables
          )
          resources: {
            cpu: json(size.cpu)
            memory: size.memory
          }
          volumeMounts: concat(secretMounts, modelsMounts)
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/startupz'
                port: port
              }
              // Nothing listens before the models have been pulled.
              periodSeconds: empty(modelsAccountName) ? size.startupPeriod : 30
              timeoutSeconds: 2
              failureThreshold: 10
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/readyz'
                port: port
              }
              periodSeconds: 5
              timeoutSeconds: 2
              failureThreshold: 2
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/livez'
                port: port
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
          ]
        }
      ]
      volumes: concat(secretVolumes, modelsVolumes)
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        pollingInterval: 10
        cooldownPeriod: 300
        rules: concat(bulkRules, [
          {
            name: 'queue'
            custom: {
              type: 'azure-servicebus'
              identity: scaler.id
              metadata: union(counted, {
                namespace: serviceBusName
                messageCount: string(messageCount)
                activationMessageCount: '0'
              })
            }
          }
          {
            name: 'http'
            http: {
              metadata: {
                concurrentRequests: string(concurrentRequests)
              }
            }
          }
        ])
      }
    }
  }
  // Roles first: a replica without them could neither be pulled nor receive.
  dependsOn: [
    newEnvironment
    scalerPulls
    scalerCounts
    scalerReadsSecrets
    scalerCountsSubscription
    scalerCountsBulk
    workerReceives
    workerReceivesBulk
    workerSubscribes
    workerSends
    workerReadsBlobs
    workerReadsModels
    workerWritesResults
  ]
}

@description('Where the app answers; empty before there is an image.')
output url string = empty(image) ? '' : 'https://${app!.properties.configuration.ingress.fqdn}'

@description('Who may ask for pictures there: keys, entra, keys+entra, or none: nobody.')
output auth string = auth

@description('What Application Insights calls the place to send to. It lets nobody read, but anybody send.')
output insights string = createEnvironment && applicationInsights ? insights!.outputs.connection : ''

@description('Registry to push the image to.')
output registry string = registryServer

@description('Namespace that robots send to, and get results from.')
output serviceBus string = '${serviceBusName}.servicebus.windows.net'
