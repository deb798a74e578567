"""The columns, as Azure documents them, of the tables that the documented queries read.

Sources: https://learn.microsoft.com/azure/azure-monitor/reference/tables/ and a page of each table's name below it;
https://learn.microsoft.com/azure/container-apps/log-monitoring for the two with `_CL`.
"""

_ANY = "TenantId:string, TimeGenerated:datetime, Type:string, SourceSystem:string, _ResourceId:string"
_TELEMETRY = (
    f"{_ANY}, Properties:dynamic, OperationName:string, OperationId:string, ParentId:string, SyntheticSource:string, "
    "SessionId:string, UserId:string, UserAuthenticatedId:string, UserAccountId:string, AppVersion:string, "
    "AppRoleName:string, AppRoleInstance:string, ClientType:string, ClientModel:string, ClientOS:string, "
    "ClientIP:string, ClientCity:string, ClientStateOrProvince:string, ClientCountryOrRegion:string, "
    "ClientBrowser:string, ResourceGUID:string, IKey:string, SDKVersion:string, ItemCount:int, "
    "ReferencedItemId:string, ReferencedType:string"
)
_TIMED = "Id:string, Name:string, Success:bool, ResultCode:string, DurationMs:real, PerformanceBucket:string"
_CONTAINER_APPS = (
    f"{_ANY}, Log_s:string, ContainerAppName_s:string, RevisionName_s:string, EnvironmentName_s:string, "
    "Category:string, Level:string"
)

TABLES = {
    name: f"({columns})"
    for name, columns in {
        "AppRequests": f"{_TELEMETRY}, {_TIMED}, Source:string, Url:string, Measurements:dynamic",
        "AppDependencies": (
            f"{_TELEMETRY}, {_TIMED}, Target:string, DependencyType:string, Data:string, Measurements:dynamic"
        ),
        "AppTraces": f"{_TELEMETRY}, Message:string, SeverityLevel:int, Measurements:dynamic",
        "AppMetrics": f"{_TELEMETRY}, Name:string, Sum:real, Min:real, Max:real",
        "ContainerLogV2": (
            f"{_ANY}, Computer:string, ContainerId:string, ContainerName:string, PodName:string, PodNamespace:string, "
            "LogMessage:dynamic, LogSource:string, LogLevel:string, KubernetesMetadata:dynamic"
        ),
        "KubePodInventory": (
            f"{_ANY}, Computer:string, ClusterName:string, Name:string, Namespace:string, PodStatus:string, "
            "ContainerStatus:string, ContainerStatusReason:string, PodRestartCount:int, ControllerName:string"
        ),
        "KubeEvents": (
            f"{_ANY}, Computer:string, ClusterName:string, Name:string, Namespace:string, ObjectKind:string, "
            "KubeEventType:string, Reason:string, Message:string, Count:real, FirstSeen:datetime, LastSeen:datetime"
        ),
        "ContainerAppConsoleLogs_CL": (
            f"{_CONTAINER_APPS}, ContainerName_s:string, ContainerGroupName_s:string, Stream_s:string"
        ),
        "ContainerAppSystemLogs_CL": (
            f"{_CONTAINER_APPS}, Reason_s:string, Type_s:string, ReplicaName_s:string, Count_d:real, "
            "EventSource_s:string"
        ),
    }.items()
}
