// Alerts that need nothing of the service itself: Azure Monitor asks the bus, so they fire when nothing runs at all.

@description('Beginning of the alerts\' names.')
param name string

@description('Tags.')
param tags object = {}

@description('Service Bus namespace of this resource group.')
param serviceBusName string

@description('Queue, or topic, that pictures are received from.')
param entity string

@description('A second queue, watched for dead letters alone: it may wait while the first has work. Empty: none.')
param bulkQueue string = ''

@description('Queue that results are sent to.')
param resultsQueue string

@description('Whom to write to.')
@minLength(1)
param emails string[]

@description('Messages below which the queue should fall at least once in a quarter of an hour.')
@minValue(1)
param backlog int = 2000

resource serviceBus 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: serviceBusName
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-people'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'roo-vision'
    enabled: true
    emailReceivers: [
      for (email, index) in emails: {
        name: 'person-${index}'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

var pictures = [
  {
    name: 'EntityName'
    operator: 'Include'
    values: [entity]
  }
]
var allOfThem = [
  {
    name: 'EntityName'
    operator: 'Include'
    values: empty(bulkQueue) ? [entity, resultsQueue] : [entity, bulkQueue, resultsQueue]
  }
]
// The namespace as a whole: its limit is for all of its queues together, and operations of its own name none of them.
var namespaceItself = []

// severity: 0 critical, 1 error, 2 warning. `operator` and `threshold` are of each criterion; all must hold.
var rules = [
  {
    name: 'nothing-runs'
    description: 'Messages wait, and for ten minutes none was finished: no replica runs, or none gets on. See docs/operations.md.'
    severity: 0
    window: 'PT10M'
    criteria: [
      { metric: 'ActiveMessages', aggregation: 'Minimum', operator: 'GreaterThan', threshold: 0, dimensions: pictures }
      { metric: 'CompleteMessage', aggregation: 'Total', operator: 'LessThan', threshold: 1, dimensions: pictures }
    ]
  }
  {
    name: 'backlog'
    description: 'For a quarter of an hour more messages wait than all replicas do in a minute.'
    severity: 1
    window: 'PT15M'
    criteria: [
      { metric: 'ActiveMessages', aggregation: 'Minimum', operator: 'GreaterThan', threshold: backlog, dimensions: pictures }
    ]
  }
  {
    name: 'dead-letters'
    description: 'Messages are dead-lettered; each says why. `roo-vision dead-letters list`.'
    severity: 2
    window: 'PT5M'
    criteria: [
      { metric: 'DeadletteredMessages', aggregation: 'Maximum', operator: 'GreaterThan', threshold: 0, dimensions: allOfThem }
    ]
  }
  {
    name: 'throttled'
    description: 'The bus refuses requests: the namespace is at its limit (Standard: 1,000 credits a second).'
    severity: 2
    window: 'PT5M'
    criteria: [
      { metric: 'ThrottledRequests', aggregation: 'Total', operator: 'GreaterThan', threshold: 0, dimensions: namespaceItself }
    ]
  }
  {
    name: 'bus-errors'
    description: 'The bus fails. Nothing is lost: messages come again when it is back.'
    severity: 1
    window: 'PT5M'
    criteria: [
      { metric: 'ServerErrors', aggregation: 'Total', operator: 'GreaterThan', threshold: 10, dimensions: namespaceItself }
    ]
  }
]

resource alerts 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for rule in rules: {
    name: '${name}-${rule.name}'
    location: 'global'
    tags: tags
    properties: {
      description: rule.description
      severity: rule.severity
      enabled: true
      scopes: [serviceBus.id]
      evaluationFrequency: 'PT1M'
      windowSize: rule.window
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          for criterion in rule.criteria: {
            criterionType: 'StaticThresholdCriterion'
            name: criterion.metric
            metricNamespace: 'Microsoft.ServiceBus/namespaces'
            metricName: criterion.metric
            timeAggregation: criterion.aggregation
            operator: criterion.operator
            threshold: criterion.threshold
            dimensions: criterion.dimensions
          }
        ]
      }
      autoMitigate: true
      actions: [
        {
          actionGroupId: people.id
        }
      ]
    }
  }
]
