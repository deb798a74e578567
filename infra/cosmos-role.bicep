// Results in Cosmos DB: the service may read and write the items of one container, and nothing else of the account. This is a
// role of Cosmos DB's data plane, which has assignments of its own; Azure's ordinary roles let nobody in to the items.

@description('Principal of the identity that the service runs as.')
param worker string

@description('Cosmos DB account of this resource group.')
param accountName string

@description('Database of the account.')
param database string

@description('Container in the database, partitioned by /id, /request_id, /robot_id, /model, /version, or several of these.')
param container string

// https://learn.microsoft.com/azure/cosmos-db/nosql/reference-data-plane-security: Built-in Data Contributor
var dataContributor = '00000000-0000-0000-0000-000000000002'

resource account 'Microsoft.DocumentDB/databaseAccounts@2026-03-15' existing = {
  name: accountName
}

resource workerKeepsResults 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2026-03-15' = {
  parent: account
  name: guid(account.id, database, container, worker, dataContributor)
  properties: {
    principalId: worker
    roleDefinitionId: '${account.id}/sqlRoleDefinitions/${dataContributor}'
    scope: '${account.id}/dbs/${database}/colls/${container}'
  }
}
