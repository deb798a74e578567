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

@description('Tags of everything that is made.')
param tags object = {}

@description('Image to run. Empty: everything but the app is made, so that there is a registry to push the image to.')
param image string = ''

@description('What a replica runs on: 2 cores, or a serverless GPU (quota has to be asked for; use the CUDA image).')
@allowed(['cpu', 'gpu-t4', 'gpu-a100'])
param compute string = 'cpu'

@description('Whether people outside of the environment reach the app: from the internet, or with publicNetworkAccess Disabled from its network alone. Off, until you have decided who may ask (below).')
param externalIngress bool = false

@description('For a careful roll-out: the revision that keeps the rest of the traffic. Empty: the new one gets all, and replaces it.')
param stableRevision string = ''

@description('Per cent of the requests that the new revision gets beside stableRevision; of the messages too, where it is a worker.')
@minValue(0)
@maxValue(100)
param newRevisionWeight int = 10

@description('Whether this revision takes messages. Left out: not beside stableRevision, so that two do not scale by one queue. Without keys or tokens nothing else is left to do.')
param worker bool = empty(stableRevision)

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

@description('Most replicas.')
@minValue(1)
@maxValue(1000)
param maxReplicas int = 50

@description('Most replicas with a GPU: as many as the quota has GPUs.')
@minValue(1)
@maxValue(1000)
param maxReplicasGpu int = 4

@description('''Messages per replica: what the slowest that is planned for (10 pictures a second: large ones, half a core) does in
what is left of the 60 s that a result may take when the queue was looked at just before (10 s), then the autoscaler just
before (15 s), and the replica starts (15 s): 10 x 20. One with two cores does 60 to 150 a second; the shift change, 800
messages a minute, is one's work. docs/scaling.md.''')
@minValue(1)
param messageCount int = 200

@description('Messages per replica with a GPU, which takes minutes to start and has four times the cores to decode with.')
@minValue(1)
param messageCountGpu int = 800

@description('Seconds that a start may take before the replica is given up. 0: 30, or 300 with a GPU or models that are not in the image.')
@minValue(0)
@maxValue(2400)
param startupSeconds int = 0

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

@description('Messaging units of a Premium namespace.')
@allowed([1, 2, 4, 8, 16])
param serviceBusUnits int = 1

@description('Disabled: registry, bus and storage are reached by private endpoints alone (infra/network.bicep); the first two must be Premium.')
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

@description('Cosmos DB account of this resource group, where results are kept too. Empty: none.')
param cosmosAccountName string = ''

@description('Database of that account.')
param cosmosDatabase string = 'robots'

@description('Container in that database, which must be there already; partitioned by /id, or as docs/queue.md says.')
param cosmosContainer string = 'results'

@description('URL (https) that results are posted to as well, without a token in it; needs keyVaultName. Empty: none.')
param webhookUrl string = ''

@description('Secret of the vault that signs what is posted, one or several a line, of at least 16 characters each.')
param webhookSecret string = 'roo-vision-webhook'

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

@description('Whether the environment is spread over the region\'s zones, which takes subnetId. A registry is by itself, where the region has any.')
param zoneRedundant bool = !empty(subnetId)

@description('Whether the environment and its Log Analytics workspace are made here. Otherwise it must be in this resource group.')
param createEnvironment bool = true

@description('Container Apps environment.')
param environmentName string = '${name}-environment'

@description('Subnet of two hundred addresses or more, delegated to Microsoft.App/environments, for the environment. Empty: none.')
param subnetId string = ''

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logDays int = 30

@description('Whether an Application Insights component is made for traces and log lines; docs/deployment.md says how the environment\'s agent is told of it.')
param applicationInsights bool = true

@description('Whom Azure Monitor writes to when messages wait and nothing runs, are dead-lettered or throttled. Empty: nobody, and no alerts are made.')
param alertEmails string[] = []

@description('Whether a storage account is made here, with containers for pictures and results, and their end after some days.')
param createStorage bool = false

@description('Storage account of this resource group for pictures by link and for large results. Empty: none, or a name is made for it.')
@maxLength(24)
param storageAccountName string = ''

@description('Container of it that pictures are read from. Empty: links may lead to any of the account.')
param picturesContainer string = createStorage ? 'pictures' : ''

@description('Whether a picture that is put into picturesContainer becomes a message, by Event Grid; the queue then has no sessions.')
param uploadEvents bool = createStorage

@description('Days that a picture is kept in the storage that is made here.')
@minValue(1)
param picturesDays int = 7

@description('Days that large results, and events that could not be delivered, are kept there.')
@minValue(1)
param resultsDays int = 30

@description('Storage account of this resource group that models are pulled from at the start. Empty: those in the image.')
param modelsAccountName string = ''

@description('Container of it, with a folder for each model.')
param modelsContainer string = 'models'

@description('Folder in it, so that each state of the models may have one of its own: changing it is a new revision. Empty: the whole container.')
param modelsFolder string = ''

@description('Share of Azure Files that is mounted as the model repository, in place of the image\'s and of one that is pulled. Empty: none.')
param modelsShare string = ''

@description('Storage account of this resource group with that share.')
param modelsShareAccountName string = ''

@description('How the share is mounted: SMB with the account\'s key, which the environment keeps, or NFS without, which takes subnetId.')
@allowed(['SMB', 'NFS'])
param modelsShareProtocol string = 'SMB'

@description('Public keys (PEM) of those who may sign models; models that none of them has signed are not served. Empty: all are.')
param trustedKeys string = ''

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
    startupSeconds: 30
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
    startupSeconds: 300
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
    startupSeconds: 300
  }
}
var size = sizes[compute]

// What this cloud calls its bus, and KEDA the cloud.
var cloud = loadJsonContent('infra/clouds.json')[az.environment().name]
var serviceBusHost = '${serviceBusName}.${cloud.bus}'

// ── Identities ──────────────────────────────────────────────────────────────────────────────────────────────────────

// Who the service is: may receive pictures and send results, nothing else.
resource workerIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-worker'
  location: location
  tags: tags
}

// Who scales it, pulls its image and fetches its secrets. Asking for a queue's depth takes the right to manage the
// queue, so this identity never enters the container (lifecycle None below).
resource scalerIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-scaler'
  location: location
  tags: tags
}

// ── Bus, registry, storage ──────────────────────────────────────────────────────────────────────────────────────────

module bus 'infra/servicebus.bicep' = if (createServiceBus) {
  name: '${name}-servicebus'
  params: {
    name: serviceBusName
    location: location
    tags: tags
    sku: serviceBusSku
    units: serviceBusUnits
    publicNetworkAccess: publicNetworkAccess
    queue: queue
    topic: topic
    subscription: subscription
    sessions: sessions > 0
    bulkQueue: bulkQueue
    resultsQueue: resultsQueue
  }
}

resource newRegistry 'Microsoft.ContainerRegistry/registries@2025-11-01' = if (createRegistry) {
  name: registryName
  location: location
  tags: tags
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
    tags: tags
    properties: {
      // One name for all regions: whoever pulls is led to the nearest.
      regionEndpointEnabled: true
    }
  }
]

var storageName = createStorage && empty(storageAccountName) ? 'roovision${uniqueString(resourceGroup().id)}' : storageAccountName
var undelivered = uploadEvents ? 'undelivered' : ''

module storage 'infra/storage.bicep' = if (!empty(storageName)) {
  name: '${name}-storage'
  params: {
    name: storageName
    location: location
    tags: tags
    create: createStorage
    publicNetworkAccess: publicNetworkAccess
    picturesContainer: picturesContainer
    resultsContainer: resultsQueue
    undeliveredContainer: undelivered
    picturesDays: picturesDays
    resultsDays: resultsDays
  }
}

module events 'infra/events.bicep' = if (uploadEvents && !empty(storageName) && !empty(picturesContainer)) {
  name: '${name}-events'
  params: {
    name: name
    location: location
    tags: tags
    storageAccountName: storageName
    picturesContainer: picturesContainer
    undeliveredContainer: undelivered
    serviceBusName: serviceBusName
    queue: queue
    topic: topic
  }
  dependsOn: [bus, storage]
}

resource modelsStorage 'Microsoft.Storage/storageAccounts@2026-04-01' existing = if (!empty(modelsAccountName)) {
  name: empty(modelsAccountName) ? 'none' : modelsAccountName
}

resource modelsBlobs 'Microsoft.Storage/storageAccounts/blobServices@2026-04-01' existing = if (!empty(modelsAccountName)) {
  parent: modelsStorage
  name: 'default'
}

resource models 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-04-01' = if (!empty(modelsAccountName)) {
  parent: modelsBlobs
  name: modelsContainer
}

module roles 'infra/roles.bicep' = {
  name: '${name}-roles'
  params: {
    worker: workerIdentity.properties.principalId
    scaler: scalerIdentity.properties.principalId
    serviceBusName: serviceBusName
    queue: queue
    topic: topic
    subscription: subscription
    bulkQueue: bulkQueue
    resultsQueue: resultsQueue
    registryName: registryName
    keyVaultName: keyVaultName
    apiKeysSecret: apiKeysSecret
    webhookSecret: empty(webhookUrl) ? '' : webhookSecret
    storageAccountName: storageName
    picturesContainer: picturesContainer
    modelsAccountName: modelsAccountName
    modelsContainer: modelsContainer
  }
  dependsOn: [bus, newRegistry, storage, models]
}

module cosmosRole 'infra/cosmos-role.bicep' = if (!empty(cosmosAccountName)) {
  name: '${name}-cosmos-role'
  params: {
    worker: workerIdentity.properties.principalId
    accountName: cosmosAccountName
    database: cosmosDatabase
    container: cosmosContainer
  }
}

// ── Environment ─────────────────────────────────────────────────────────────────────────────────────────────────────

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' = if (createEnvironment) {
  name: '${name}-logs'
  location: location
  tags: tags
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
    tags: tags
    workspaceId: logs.id
  }
}

module alerts 'infra/alerts.bicep' = if (!empty(alertEmails)) {
  name: '${name}-alerts'
  params: {
    name: name
    serviceBusName: serviceBusName
    entity: empty(topic) ? queue : topic
    bulkQueue: bulkQueue
    resultsQueue: resultsQueue
    emails: alertEmails
    backlog: perReplica * 10
    tags: tags
  }
  dependsOn: [bus]
}

resource newEnvironment 'Microsoft.App/managedEnvironments@2026-01-01' = if (createEnvironment) {
  name: environmentName
  location: location
  tags: tags
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
          // From a private network's other end the app is reached by external ingress in an internal environment.
          internal: publicNetworkAccess == 'Disabled' || !externalIngress
        }
    zoneRedundant: zoneRedundant
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

module mountedModels 'infra/models-share.bicep' = if (!empty(modelsShare)) {
  name: '${name}-models-share'
  params: {
    environmentName: environmentName
    accountName: modelsShareAccountName
    shareName: modelsShare
    protocol: modelsShareProtocol
  }
  dependsOn: [newEnvironment]
}

// ── The app ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// What pictures are received from first.
var source = empty(topic) ? queue : '${topic}/subscriptions/${subscription}'

var environmentVariables = [
  { name: 'ROO_DEVICE', value: size.device }
  { name: 'ROO_MAX_INFLIGHT_BYTES', value: string(size.inflightBytes) }
  { name: 'ROO_MAX_DECODE_BYTES', value: string(size.decodeBytes) }
  { name: 'ROO_DRAIN_DELAY', value: string(drainDelay) }
  { name: 'ROO_GRACE_PERIOD', value: string(gracePeriod) }
  // Which of the identities the Azure SDK takes.
  { name: 'AZURE_CLIENT_ID', value: workerIdentity.properties.clientId }
]

var queueVariables = !worker
  ? []
  : [
      { name: 'ROO_SERVICEBUS_NAMESPACE', value: serviceBusHost }
      { name: 'ROO_QUEUE', value: empty(bulkQueue) ? source : '${source},${bulkQueue}' }
      { name: 'ROO_RESULTS_QUEUE', value: resultsQueue }
      { name: 'ROO_REPLY_TO', value: resultsQueue }
      { name: 'ROO_QUEUE_HELD', value: string(size.held) }
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

var storageVariables = empty(storageName)
  ? []
  : [
      { name: 'ROO_BLOB_ACCOUNTS', value: 'https://${storageName}.blob.${az.environment().suffixes.storage}' }
      { name: 'ROO_RESULTS_CONTAINER', value: 'https://${storageName}.blob.${az.environment().suffixes.storage}/${resultsQueue}' }
    ]

var cosmosVariables = !worker || empty(cosmosAccountName)
  ? []
  : [
      { name: 'ROO_COSMOS_ENDPOINT', value: 'https://${cosmosAccountName}.${cloud.cosmos}' }
      { name: 'ROO_COSMOS_DATABASE', value: cosmosDatabase }
      { name: 'ROO_COSMOS_CONTAINER', value: cosmosContainer }
    ]

var webhook = worker && keys && !empty(webhookUrl)
var webhookVariables = !webhook
  ? []
  : [
      { name: 'ROO_WEBHOOK_URL', value: webhookUrl }
      { name: 'ROO_WEBHOOK_SECRET_FILE', value: '/mnt/webhook/secret' }
    ]

var modelsUrl = 'https://${modelsAccountName}.blob.${az.environment().suffixes.storage}/${modelsContainer}'

// A share takes the place of what would be pulled.
var pulled = !empty(modelsAccountName) && empty(modelsShare)

var modelsVariables = !pulled
  ? []
  : [
      { name: 'ROO_MODELS_SOURCE', value: empty(modelsFolder) ? modelsUrl : '${modelsUrl}/${modelsFolder}' }
      { name: 'ROO_MODELS_CACHE', value: '/mnt/models' }
    ]

var shareVariables = empty(modelsShare)
  ? []
  : [
      { name: 'ROO_MODELS_DIR', value: '/mnt/models' }
    ]

var trustVariables = empty(trustedKeys)
  ? []
  : [
      { name: 'ROO_TRUSTED_KEYS', value: '/mnt/trusted/keys.pem' }
    ]

var sessionVariables = !worker || sessions == 0
  ? []
  : [
      { name: 'ROO_QUEUE_SESSIONS', value: '${source}=${sessions}' }
    ]

var bulkVariables = !worker || empty(bulkQueue)
  ? []
  : [
      { name: 'ROO_QUEUE_SHARE', value: '${bulkQueue}=0.${padLeft(bulkShare, 2, '0')}' }
    ]

var keySecrets = !keys
  ? []
  : [
      {
        name: 'api-keys'
        keyVaultUrl: 'https://${keyVaultName}${az.environment().suffixes.keyvaultDns}/secrets/${apiKeysSecret}'
        identity: scalerIdentity.id
      }
    ]

var trustSecrets = empty(trustedKeys)
  ? []
  : [
      {
        name: 'trusted-keys'
        value: trustedKeys
      }
    ]

var webhookSecrets = !webhook
  ? []
  : [
      {
        name: 'webhook'
        keyVaultUrl: 'https://${keyVaultName}${az.environment().suffixes.keyvaultDns}/secrets/${webhookSecret}'
        identity: scalerIdentity.id
      }
    ]

var webhookMounts = !webhook
  ? []
  : [
      {
        volumeName: 'webhook'
        mountPath: '/mnt/webhook'
      }
    ]

var webhookVolumes = !webhook
  ? []
  : [
      {
        name: 'webhook'
        storageType: 'Secret'
        secrets: [
          {
            secretRef: 'webhook'
            path: 'secret'
          }
        ]
      }
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

// Public keys are no secret; a secret is how a file comes into a container here.
var trustMounts = empty(trustedKeys)
  ? []
  : [
      {
        volumeName: 'trusted'
        mountPath: '/mnt/trusted'
      }
    ]

var trustVolumes = empty(trustedKeys)
  ? []
  : [
      {
        name: 'trusted'
        storageType: 'Secret'
        secrets: [
          {
            secretRef: 'trusted-keys'
            path: 'keys.pem'
          }
        ]
      }
    ]

// What is pulled outlives a restart of the container, and not the replica.
var modelsMounts = empty(modelsShare) && !pulled
  ? []
  : [
      {
        volumeName: 'models'
        mountPath: '/mnt/models'
      }
    ]

var modelsVolumes = !empty(modelsShare)
  ? [
      {
        name: 'models'
        storageType: modelsShareProtocol == 'NFS' ? 'NfsAzureFile' : 'AzureFile'
        storageName: 'models'
      }
    ]
  : !pulled
      ? []
      : [
          {
            name: 'models'
            storageType: 'EmptyDir'
          }
        ]

// Nothing listens before models have been pulled; a probe may fail ten times.
var outside = pulled || !empty(modelsShare)
var startupAllowed = startupSeconds > 0 ? startupSeconds : (outside ? max(300, size.startupSeconds) : size.startupSeconds)

// Each revision has a scaler of its own, and all count the same queue. One that works beside another is called for its share
// of the messages only, and has its share of the replicas, so that both together are hardly more than one alone.
var perReplica = compute == 'cpu' ? messageCount : messageCountGpu
var most = compute == 'cpu' ? maxReplicas : maxReplicasGpu
var share = empty(stableRevision) ? 100 : max(1, newRevisionWeight)
var calls = string(perReplica * 100 / share)
var mostOfShare = max(1, minReplicas, most * share / 100)

// What the scaler counts; of several rules the one that wants most replicas decides.
var counted = empty(topic)
  ? {
      queueName: queue
    }
  : {
      topicName: topic
      subscriptionName: subscription
    }

var queueRules = !worker
  ? []
  : [
      {
        name: 'queue'
        custom: {
          type: 'azure-servicebus'
          identity: scalerIdentity.id
          metadata: union(counted, {
            namespace: serviceBusName
            cloud: cloud.keda
            messageCount: calls
            activationMessageCount: '0'
          })
        }
      }
    ]

var bulkRules = !worker || empty(bulkQueue)
  ? []
  : [
      {
        name: 'bulk-queue'
        custom: {
          type: 'azure-servicebus'
          identity: scalerIdentity.id
          metadata: {
            namespace: serviceBusName
            cloud: cloud.keda
            queueName: bulkQueue
            messageCount: calls
            activationMessageCount: '0'
          }
        }
      }
    ]

resource app 'Microsoft.App/containerApps@2026-01-01' = if (!empty(image)) {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': name })
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${workerIdentity.id}': {}
      '${scalerIdentity.id}': {}
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
          identity: workerIdentity.id
          lifecycle: 'Main'
        }
        {
          identity: scalerIdentity.id
          lifecycle: 'None'
        }
      ]
      registries: [
        {
          server: registryServer
          identity: scalerIdentity.id
        }
      ]
      secrets: concat(keySecrets, trustSecrets, webhookSecrets)
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
            queueVariables,
            callerVariables,
            keyVariables,
            tokenVariables,
            tenantVariables,
            issuerVariables,
            storageVariables,
            cosmosVariables,
            webhookVariables,
            modelsVariables,
            shareVariables,
            trustVariables,
            sessionVariables,
            bulkVariables
          )
          resources: {
            cpu: json(size.cpu)
            memory: size.memory
          }
          volumeMounts: concat(secretMounts, trustMounts, webhookMounts, modelsMounts)
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/startupz'
                port: port
              }
              periodSeconds: (startupAllowed + 9) / 10
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
      volumes: concat(secretVolumes, trustVolumes, webhookVolumes, modelsVolumes)
      scale: {
        minReplicas: minReplicas
        maxReplicas: mostOfShare
        pollingInterval: 10
        cooldownPeriod: 300
        rules: concat(bulkRules, queueRules, [
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
  dependsOn: [newEnvironment, roles, mountedModels]
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
output serviceBus string = serviceBusHost

@description('Container that pictures are put into; empty where there is none.')
output pictures string = empty(storageName) || empty(picturesContainer) ? '' : 'https://${storageName}.blob.${az.environment().suffixes.storage}/${picturesContainer}'
