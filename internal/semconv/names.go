// Code generated from attributes.yaml by gen. DO NOT EDIT.

package semconv

// Keys of attributes.
const (
	// ServiceName: Logical name of the service.
	ServiceName = "service.name"
	// ServiceNamespace: Group of services that the name is unique in.
	ServiceNamespace = "service.namespace"
	// ServiceVersion: Version of the service.
	ServiceVersion = "service.version"
	// ServiceInstanceID: Identifies one running instance of the service.
	ServiceInstanceID = "service.instance.id"
	// DeploymentEnvironmentName: Environment, for example production.
	DeploymentEnvironmentName = "deployment.environment.name"
	// TelemetrySDKName: Name of the SDK that recorded the telemetry.
	TelemetrySDKName = "telemetry.sdk.name"
	// TelemetrySDKLanguage: Language of the SDK.
	TelemetrySDKLanguage = "telemetry.sdk.language"
	// TelemetrySDKVersion: Version of the SDK.
	TelemetrySDKVersion = "telemetry.sdk.version"
	// ProcessPID: Process id.
	ProcessPID = "process.pid"
	// ProcessExecutableName: File name of the executable.
	ProcessExecutableName = "process.executable.name"
	// ProcessRuntimeVersion: Version of the language runtime.
	ProcessRuntimeVersion = "process.runtime.version"
	// HostName: Name of the machine.
	HostName = "host.name"
	// ContainerID: Id of the container.
	ContainerID = "container.id"
	// K8sClusterName: Kubernetes cluster.
	K8sClusterName = "k8s.cluster.name"
	// K8sNamespaceName: Kubernetes namespace.
	K8sNamespaceName = "k8s.namespace.name"
	// K8sNodeName: Kubernetes node.
	K8sNodeName = "k8s.node.name"
	// K8sPodName: Kubernetes pod.
	K8sPodName = "k8s.pod.name"
	// K8sPodUID: Uid of the Kubernetes pod.
	K8sPodUID = "k8s.pod.uid"
	// K8sDeploymentName: Kubernetes deployment.
	K8sDeploymentName = "k8s.deployment.name"
	// K8sContainerName: Container within the pod.
	K8sContainerName = "k8s.container.name"
	// ServicePeerName: Logical name of the remote service.
	ServicePeerName = "service.peer.name"
	// PeerService: Older spelling of service.peer.name.
	PeerService = "peer.service"
	// ServerAddress: Name or address of the server.
	ServerAddress = "server.address"
	// ServerPort: Port of the server.
	ServerPort = "server.port"
	// ClientAddress: Address of the client.
	ClientAddress = "client.address"
	// NetworkPeerAddress: Address of the other end of the connection.
	NetworkPeerAddress = "network.peer.address"
	// NetworkPeerPort: Port of the other end of the connection.
	NetworkPeerPort = "network.peer.port"
	// NetPeerName: Older spelling of server.address on client spans.
	NetPeerName = "net.peer.name"
	// NetSockPeerAddr: Older spelling of network.peer.address.
	NetSockPeerAddr = "net.sock.peer.addr"
	// HTTPRequestMethod: HTTP method.
	HTTPRequestMethod = "http.request.method"
	// HTTPResponseStatusCode: HTTP status.
	HTTPResponseStatusCode = "http.response.status_code"
	// HTTPRoute: Route template that matched.
	HTTPRoute = "http.route"
	// URLFull: Whole URL of an outgoing request.
	URLFull = "url.full"
	// URLPath: Path of the URL.
	URLPath = "url.path"
	// URLScheme: Scheme of the URL.
	URLScheme = "url.scheme"
	// UserAgentOriginal: User-Agent header.
	UserAgentOriginal = "user_agent.original"
	// RPCSystem: Remote procedure system, for example grpc.
	RPCSystem = "rpc.system"
	// RPCService: Full name of the service called.
	RPCService = "rpc.service"
	// RPCMethod: Method called.
	RPCMethod = "rpc.method"
	// RPCGRPCStatusCode: gRPC status.
	RPCGRPCStatusCode = "rpc.grpc.status_code"
	// DBSystemName: Database product, for example postgresql.
	DBSystemName = "db.system.name"
	// DBSystem: Older spelling of db.system.name.
	DBSystem = "db.system"
	// DBNamespace: Database or schema that the query runs in.
	DBNamespace = "db.namespace"
	// DBName: Older spelling of db.namespace.
	DBName = "db.name"
	// DBOperationName: Operation run by the query.
	DBOperationName = "db.operation.name"
	// DBQueryText: Text of the query.
	DBQueryText = "db.query.text"
	// DBCollectionName: Table or collection.
	DBCollectionName = "db.collection.name"
	// MessagingSystem: Messaging product, for example kafka.
	MessagingSystem = "messaging.system"
	// MessagingDestinationName: Queue or topic.
	MessagingDestinationName = "messaging.destination.name"
	// MessagingOperationType: send, receive, process, settle or create.
	MessagingOperationType = "messaging.operation.type"
	// ErrorType: Class of the error.
	ErrorType = "error.type"
	// ExceptionType: Type of the exception.
	ExceptionType = "exception.type"
	// ExceptionMessage: Message of the exception.
	ExceptionMessage = "exception.message"
	// ExceptionStacktrace: Stack of the exception.
	ExceptionStacktrace = "exception.stacktrace"
	// SpanName: Name of the span.
	SpanName = "span.name"
	// SpanKind: Kind of the span, for example SPAN_KIND_SERVER.
	SpanKind = "span.kind"
	// StatusCode: Status of the span, for example STATUS_CODE_ERROR.
	StatusCode = "status.code"
	// CollectorInstanceID: Which collector made the metric, where several write to one store.
	CollectorInstanceID = "collector.instance.id"
	// OTelMetricOverflow: True on the series that takes what was beyond the limit on series.
	OTelMetricOverflow = "otel.metric.overflow"
	// GraphClient: Calling service of an edge.
	GraphClient = "client"
	// GraphServer: Called service of an edge.
	GraphServer = "server"
	// ConnectionType: Kind of an edge: empty, messaging_system, database or virtual_node.
	ConnectionType = "connection_type"
	// GraphFailed: Whether either side of the call failed.
	GraphFailed = "failed"
	// TempoService: Service of a span metric, in the naming of Grafana Tempo.
	TempoService = "service"
	// GuanlanProfileType: What a profile measures: cpu, off_cpu, heap, allocs, goroutine, mutex, block or another.
	GuanlanProfileType = "guanlan.profile.type"
	// ProfileFrameType: Runtime of a frame of a stack, for example native, kernel or go.
	ProfileFrameType = "profile.frame.type"
	// ProcessExecutableBuildIDGNU: GNU build id of an executable or library.
	ProcessExecutableBuildIDGNU = "process.executable.build_id.gnu"
	// ProcessExecutableBuildIDGo: Go build id of an executable.
	ProcessExecutableBuildIDGo = "process.executable.build_id.go"
	// ProcessExecutableBuildIDHash: Hash over parts of an executable or library.
	ProcessExecutableBuildIDHash = "process.executable.build_id.htlhash"
	// PprofScopeSampleTypeOrder: Places, in the order of a pprof profile, of the values that the profiles of a scope hold one each.
	PprofScopeSampleTypeOrder = "pprof.scope.sample_type_order"
	// PprofScopeDefaultSampleType: Type of the value that pprof shows first.
	PprofScopeDefaultSampleType = "pprof.scope.default_sample_type"
	// PprofProfileComment: Comments of a pprof profile.
	PprofProfileComment = "pprof.profile.comment"
	// PprofProfileDocURL: Where documentation of a pprof profile stands.
	PprofProfileDocURL = "pprof.profile.doc_url"
	// PprofProfileDropFrames: Expression for functions that pprof leaves out of stacks.
	PprofProfileDropFrames = "pprof.profile.drop_frames"
	// PprofProfileKeepFrames: Expression for exceptions from dropped functions.
	PprofProfileKeepFrames = "pprof.profile.keep_frames"
	// PprofLocationIsFolded: True when several functions with identical code share the location.
	PprofLocationIsFolded = "pprof.location.is_folded"
	// PprofMappingHasFunctions: True when functions of the mapping are known.
	PprofMappingHasFunctions = "pprof.mapping.has_functions"
	// PprofMappingHasFilenames: True when source files of the mapping are known.
	PprofMappingHasFilenames = "pprof.mapping.has_filenames"
	// PprofMappingHasLineNumbers: True when source lines of the mapping are known.
	PprofMappingHasLineNumbers = "pprof.mapping.has_line_numbers"
	// PprofMappingHasInlineFrames: True when functions compiled into others are told apart.
	PprofMappingHasInlineFrames = "pprof.mapping.has_inline_frames"
)

// Names of metrics.
const (
	// MetricSpanCalls: Spans by service, name, kind and status (counter).
	MetricSpanCalls = "traces.span.metrics.calls"
	// MetricSpanDuration: Duration of spans by service, name, kind and status (histogram, ms).
	MetricSpanDuration = "traces.span.metrics.duration"
	// MetricGraphRequests: Calls from one service to another (counter).
	MetricGraphRequests = "traces_service_graph_request_total"
	// MetricGraphFailed: Failed calls from one service to another (counter).
	MetricGraphFailed = "traces_service_graph_request_failed_total"
	// MetricGraphServerDuration: Duration of calls as the server saw them (histogram, s).
	MetricGraphServerDuration = "traces_service_graph_request_server"
	// MetricGraphClientDuration: Duration of calls as the client saw them (histogram, s).
	MetricGraphClientDuration = "traces_service_graph_request_client"
	// MetricGraphUnpaired: Spans whose other side did not arrive in time (counter).
	MetricGraphUnpaired = "traces_service_graph_unpaired_spans_total"
	// MetricGraphDropped: Spans given up early because too many waited for their other side (counter).
	MetricGraphDropped = "traces_service_graph_dropped_spans_total"
	// MetricGuanlanREDSeries: Series of request metrics now in memory (gauge, {series}).
	MetricGuanlanREDSeries = "guanlan.red.series"
	// MetricGuanlanREDRemovedSeries: Series of request metrics removed because they were idle (counter, {series}).
	MetricGuanlanREDRemovedSeries = "guanlan.red.removed_series"
	// MetricGuanlanREDSpans: Spans counted by request metrics (counter, {span}).
	MetricGuanlanREDSpans = "guanlan.red.spans"
	// MetricGuanlanREDOverflowedSpans: Spans counted in an overflow series because of the limit on series (counter, {span}).
	MetricGuanlanREDOverflowedSpans = "guanlan.red.overflowed_spans"
	// MetricGuanlanREDRejectedSpans: Spans not counted because there were too many tenants (counter, {span}).
	MetricGuanlanREDRejectedSpans = "guanlan.red.rejected_spans"
	// MetricGuanlanGraphEdges: Edges of the service graph now in memory (gauge, {edge}).
	MetricGuanlanGraphEdges = "guanlan.graph.edges"
	// MetricGuanlanGraphRemovedEdges: Edges of the service graph removed because they were idle (counter, {edge}).
	MetricGuanlanGraphRemovedEdges = "guanlan.graph.removed_edges"
	// MetricGuanlanGraphSpans: Spans seen by the service graph that can be a side of a call (counter, {span}).
	MetricGuanlanGraphSpans = "guanlan.graph.spans"
	// MetricGuanlanGraphWaitingSpans: Spans kept to be paired with their other side (gauge, {span}).
	MetricGuanlanGraphWaitingSpans = "guanlan.graph.waiting_spans"
	// MetricGuanlanGraphExpiredSpans: Spans whose other side did not arrive in time (counter, {span}).
	MetricGuanlanGraphExpiredSpans = "guanlan.graph.expired_spans"
	// MetricGuanlanGraphDroppedSpans: Spans given up early because too many were waiting (counter, {span}).
	MetricGuanlanGraphDroppedSpans = "guanlan.graph.dropped_spans"
	// MetricGuanlanGraphOverflowedCalls: Calls counted in an overflow edge because of the limit on edges (counter, {call}).
	MetricGuanlanGraphOverflowedCalls = "guanlan.graph.overflowed_calls"
	// MetricGuanlanGraphRejectedSpans: Spans not used because there were too many tenants (counter, {span}).
	MetricGuanlanGraphRejectedSpans = "guanlan.graph.rejected_spans"
)
