// Reads {"tables": {NAME: "(column:type, …)"}, "queries": [TEXT, …]} and writes, for each query, what Microsoft's own
// language service has against it, as the portal would.
require('@kusto/language-service-next/bridge.min.js')
require('@kusto/language-service-next/Kusto.Language.Bridge.min.js')
const { KustoCode, GlobalState, Symbols } = Kusto.Language

const { tables, queries } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
const members = Object.entries(tables).map(([name, columns]) => new Symbols.TableSymbol.$ctor7(name, columns, null))
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor('workspace', members))
const found = queries.map((query) =>
  Bridge.toArray(KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics()).map(
    (one) => `${one.Severity} ${one.Code}: ${one.Message} ("${query.slice(one.Start, one.Start + one.Length)}")`
  )
)
process.stdout.write(JSON.stringify(found))
