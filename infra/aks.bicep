// An AKS cluster for k8s/overlays: pools for fifty pods, the identities that its service accounts use, and their roles.
// Bus and registry are there already (containerapp.bicep makes them, with no image given).
//
//   az deployment group create -g GROUP -f infra/aks.bicep -p serviceBusName=… registryName=… keyVaultName=…
//
// k8s/README.md has the same as commands, and what comes after it.

@description('Name of the cluster, and the beginning of the identities\' names.')
param name string = 'roo-vision'

@description('Region.')
param location string = resourceGroup().location

@description('Tags.')
param tags object = {}

@description('Service Bus namespace of this resource group.')
param serviceBusName string

@description('Registry of this resource group.')
param registryName string

@description('Key Vault of this resource group with the API keys and the Gateway\'s certificate.')
param keyVaultName string

@description('Secret of it with the API keys; there before this is deployed, because the right to read it is given on it alone.')
param apiKeysSecret string = 'roo-vision-api-keys'

@description('Certificate of it for the Gateway; there before as well.')
param certificateName string = 'roo-vision'

@description('Storage account of this resource group for pictures by link and for large results. Empty: none.')
param storageAccountName string = ''

@description('Container of it that pictures are read from. Empty: links may lead to any of the account.')
param picturesContainer string = ''

@description('Queue that pictures are received from.')
param queue string = 'pictures'

@description('Topic in place of the queue. Empty: the queue.')
param topic string = ''

@description('Subscription of the topic.')
param subscription string = 'vision'

@description('A second queue. Empty: none.')
param bulkQueue string = ''

@description('Queue that results are sent to.')
param resultsQueue string = 'results'

@description('Virtual network of this resource group with a subnet `nodes` (infra/network.bicep). Empty: AKS makes one.')
param networkName string = ''

@description('Whether the API server has a private address only; takes networkName.')
param privateCluster bool = false

@description('Addresses (CIDR) from which the API server is reached, where it is not private. Empty: from anywhere, by whoever has credentials.')
param authorizedAddresses string[] = []

@description('How nodes reach what is outside: loadBalancer, userDefinedRouting by a firewall, or none in a cluster that is network isolated.')
@allowed(['loadBalancer', 'userDefinedRouting', 'managedNATGateway', 'none'])
param outboundType string = 'loadBalancer'

@description('Groups of Entra ID that administer the cluster; then there is no other way in. Empty: whoever may list its credentials.')
param adminGroups string[] = []

@description('Availability zones of the nodes. Empty, where the region has none.')
param zones string[] = ['1', '2', '3']

@description('Size of the CPU nodes: eight cores are four pods of 1900m.')
param cpuSize string = 'Standard_D8as_v6'

@description('Most CPU nodes. Thirteen of eight cores are fifty-two pods, and take a quota of 104 cores of that family.')
@minValue(1)
@maxValue(1000)
param cpuNodes int = 13

@description('Most spot nodes beside them, tainted as AKS taints them; pods need the toleration for it. 0: no such pool.')
@minValue(0)
@maxValue(1000)
param spotNodes int = 0

@description('Size of the GPU nodes. The A10 sizes are left out: their driver is older than the image needs (580).')
@allowed([
  'Standard_NC4as_T4_v3'
  'Standard_NC8as_T4_v3'
  'Standard_NC16as_T4_v3'
  'Standard_NC24ads_A100_v4'
  'Standard_NC40ads_H100_v5'
])
param gpuSize string = 'Standard_NC4as_T4_v3'

@description('Most GPU nodes: as many as the quota of that family has. 0: no such pool.')
@minValue(0)
@maxValue(100)
param gpuNodes int = 0

@description('Zones that have that GPU; `az vm list-skus --size` says which. Empty: wherever there is one.')
param gpuZones string[] = []

@description('Resource id of the action group that the alerts tell (infra/alerts.bicep makes one). Empty: nobody.')
param actionGroupId string = ''

// ── Identities ──────────────────────────────────────────────────────────────────────────────────────────────────────

resource clusterIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-cluster'
  location: location
  tags: tags
}

resource worker 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-worker'
  location: location
  tags: tags
}

resource scaler 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-scaler'
  location: location
  tags: tags
}

resource gateway 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-gateway'
  location: location
  tags: tags
}

// Each is trusted by the one service account that uses it, so there is no secret anywhere.
var audience = 'api://AzureADTokenExchange'

resource workerTrust 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: worker
  name: 'roo-vision'
  properties: {
    issuer: cluster.properties.oidcIssuerProfile.issuerURL
    subject: 'system:serviceaccount:roo-vision:roo-vision'
    audiences: [audience]
  }
}

resource scalerTrust 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: scaler
  name: 'keda-operator'
  properties: {
    issuer: cluster.properties.oidcIssuerProfile.issuerURL
    subject: 'system:serviceaccount:kube-system:keda-operator'
    audiences: [audience]
  }
}

resource gatewayTrust 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: gateway
  name: 'roo-vision-gateway'
  properties: {
    issuer: cluster.properties.oidcIssuerProfile.issuerURL
    subject: 'system:serviceaccount:roo-vision-gateway:roo-vision-gateway'
    audiences: [audience]
  }
}

module roles 'roles.bicep' = {
  name: '${name}-aks-roles'
  params: {
    worker: worker.properties.principalId
    scaler: scaler.properties.principalId
    // Each node's kubelet pulls; Key Vault's driver mounts secrets as the pod.
    puller: cluster.properties.identityProfile.kubeletidentity.objectId
    secretsReader: worker.properties.principalId
    gateway: gateway.properties.principalId
    metricsWorkspace: metrics.name
    serviceBusName: serviceBusName
    queue: queue
    topic: topic
    subscription: subscription
    bulkQueue: bulkQueue
    resultsQueue: resultsQueue
    registryName: registryName
    keyVaultName: keyVaultName
    apiKeysSecret: apiKeysSecret
    certificate: certificateName
    storageAccountName: storageAccountName
    picturesContainer: picturesContainer
  }
}

module joins 'network-role.bicep' = if (!empty(networkName)) {
  name: '${name}-network-role'
  params: {
    principal: clusterIdentity.properties.principalId
    networkName: networkName
  }
}

// ── Cluster ─────────────────────────────────────────────────────────────────────────────────────────────────────────

var subnet = empty(networkName) ? null : '${resourceId('Microsoft.Network/virtualNetworks', networkName)}/subnets/nodes'

resource cluster 'Microsoft.ContainerService/managedClusters@2026-05-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: 'Base'
    tier: 'Standard'
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${clusterIdentity.id}': {}
    }
  }
  properties: {
    dnsPrefix: name
    enableRBAC: true
    disableLocalAccounts: !empty(adminGroups)
    aadProfile: empty(adminGroups)
      ? null
      : {
          managed: true
          adminGroupObjectIDs: adminGroups
        }
    apiServerAccessProfile: {
      enablePrivateCluster: privateCluster
      authorizedIPRanges: privateCluster ? null : authorizedAddresses
    }
    oidcIssuerProfile: {
      enabled: true
    }
    securityProfile: {
      workloadIdentity: {
        enabled: true
      }
      imageCleaner: {
        enabled: true
        intervalHours: 168
      }
    }
    workloadAutoScalerProfile: {
      keda: {
        enabled: true
      }
    }
    // The Gateway API by Application Routing; its NGINX is not supported after November 2026.
    ingressProfile: {
      gatewayAPI: {
        installation: 'Standard'
      }
      webAppRouting: {
        enabled: true
        nginx: {
          defaultIngressControllerType: 'None'
        }
        gatewayAPIImplementations: {
          appRoutingIstio: {
            mode: 'Enabled'
          }
        }
      }
    }
    addonProfiles: {
      azureKeyvaultSecretsProvider: {
        enabled: true
        config: {
          enableSecretRotation: 'true'
          rotationPollInterval: '2m'
        }
      }
    }
    networkProfile: {
      networkPlugin: 'azure'
      networkPluginMode: 'overlay'
      networkDataplane: 'cilium'
      networkPolicy: 'cilium'
      loadBalancerSku: 'standard'
      outboundType: outboundType
    }
    azureMonitorProfile: {
      metrics: {
        enabled: true
      }
    }
    autoUpgradeProfile: {
      upgradeChannel: 'patch'
      nodeOSUpgradeChannel: 'NodeImage'
    }
    agentPoolProfiles: [
      {
        name: 'system'
        mode: 'System'
        vmSize: 'Standard_D2as_v6'
        osType: 'Linux'
        availabilityZones: zones
        vnetSubnetID: subnet
        count: 2
        enableAutoScaling: true
        minCount: 2
        maxCount: 5
        nodeTaints: ['CriticalAddonsOnly=true:NoSchedule']
      }
    ]
  }
  dependsOn: [joins]
}

// ── Managed Prometheus ──────────────────────────────────────────────────────────────────────────────────────────────
// That the cluster sends to this workspace is said by a command (docs/deployment.md#telemetry).

resource metrics 'Microsoft.Monitor/accounts@2025-10-03' = {
  name: '${name}-metrics'
  location: location
  tags: tags
}

module alerts 'prometheus-rules.bicep' = {
  name: '${name}-prometheus-rules'
  params: {
    name: name
    location: location
    tags: tags
    workspaceId: metrics.id
    clusterName: cluster.name
    actionGroupId: actionGroupId
  }
}

// ── Nodes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

// A pool that may not surge is renewed node by node, so that it needs no quota beyond its maximum.
var pools = filter(
  [
    { name: 'cpu', size: cpuSize, zones: zones, most: cpuNodes, spot: false, taints: [], surge: '33%', unavailable: '0' }
    {
      name: 'spot'
      size: cpuSize
      zones: zones
      most: spotNodes
      spot: true
      taints: ['kubernetes.azure.com/scalesetpriority=spot:NoSchedule']
      surge: null
      unavailable: null
    }
    {
      name: 'gpu'
      size: gpuSize
      zones: gpuZones
      most: gpuNodes
      spot: false
      taints: ['sku=gpu:NoSchedule']
      surge: '0'
      unavailable: '1'
    }
  ],
  pool => pool.most > 0
)

@batchSize(1)
resource nodes 'Microsoft.ContainerService/managedClusters/agentPools@2026-05-01' = [
  for pool in pools: {
    parent: cluster
    name: pool.name
    properties: {
      mode: 'User'
      osType: 'Linux'
      vmSize: pool.size
      availabilityZones: pool.zones
      vnetSubnetID: subnet
      enableAutoScaling: true
      minCount: 0
      maxCount: pool.most
      scaleSetPriority: pool.spot ? 'Spot' : 'Regular'
      scaleSetEvictionPolicy: pool.spot ? 'Delete' : null
      spotMaxPrice: pool.spot ? -1 : null
      nodeTaints: pool.taints
      upgradeSettings: pool.spot
        ? null
        : {
            maxSurge: pool.surge
            maxUnavailable: pool.unavailable
            drainTimeoutInMinutes: 30
          }
      tags: tags
    }
  }
]

@description('Client id of the pods\' identity; all of these are so named in the overlay\'s azure.yaml.')
output clientId string = worker.properties.clientId

@description('Client id of KEDA\'s identity.')
output scalerClientId string = scaler.properties.clientId

@description('Client id of the Gateway\'s identity.')
output gatewayClientId string = gateway.properties.clientId

@description('Where the workspace is asked, by KEDA for one.')
output prometheus string = metrics.properties.metrics.prometheusQueryEndpoint
