// Application Insights on a Log Analytics workspace. Container Apps' OpenTelemetry agent sends to it, without an
// identity: its connection string says where to, and lets nobody read.

@description('Name of the component.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object = {}

@description('Resource id of the Log Analytics workspace that keeps what is sent.')
param workspaceId string

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: name
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspaceId
  }
}

@description('Where telemetry is sent to.')
output connection string = insights.properties.ConnectionString
