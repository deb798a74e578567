// The alerts of k8s/components/monitoring/prometheusrule.yaml as rule groups of Azure's managed Prometheus: the file is
// read when this one is compiled, so that there is one list of alerts.
//
//   az deployment group create -g GROUP -f infra/prometheus-rules.bicep \
//       -p workspaceId=… clusterName=… actionGroupId=…

@description('Beginning of the groups\' names.')
param name string = 'roo-vision'

@description('Region of the Azure Monitor workspace.')
param location string = resourceGroup().location

@description('Tags.')
param tags object = {}

@description('Resource id of the Azure Monitor workspace that the cluster\'s metrics go to.')
param workspaceId string

@description('Name of the AKS cluster.')
param clusterName string

@description('Resource id of the action group that is told. Empty: nobody.')
param actionGroupId string = ''

var groups = loadYamlContent('../k8s/components/monitoring/prometheusrule.yaml', 'spec.groups')

// Azure Monitor's 0 is critical, its 4 verbose.
var severities = {
  critical: 0
  warning: 2
  info: 3
}

resource ruleGroups 'Microsoft.AlertsManagement/prometheusRuleGroups@2023-03-01' = [
  for group in groups: {
    name: '${name}-${group.name}'
    location: location
    tags: tags
    properties: {
      enabled: true
      clusterName: clusterName
      scopes: [workspaceId]
      interval: 'PT1M'
      rules: [
        for rule in group.rules: {
          alert: rule.alert
          enabled: true
          expression: rule.expr
          for: 'PT${toUpper(rule.?for ?? '0m')}'
          severity: severities[rule.labels.severity]
          labels: rule.labels
          annotations: rule.annotations
          resolveConfiguration: {
            autoResolved: true
            timeToResolve: 'PT10M'
          }
          actions: empty(actionGroupId)
            ? []
            : [
                {
                  actionGroupId: actionGroupId
                }
              ]
        }
      ]
    }
  }
]
