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
	// ProcessParentPID: Id of the parent process.
	ProcessParentPID = "process.parent_pid"
	// ProcessExecutableName: File name of the executable.
	ProcessExecutableName = "process.executable.name"
	// ProcessExecutablePath: Path of the executable.
	ProcessExecutablePath = "process.executable.path"
	// ProcessCommandLine: Arguments of the process in one line.
	ProcessCommandLine = "process.command_line"
	// UserID: Id of the user that the process runs as.
	UserID = "user.id"
	// ProcessRuntimeVersion: Version of the language runtime.
	ProcessRuntimeVersion = "process.runtime.version"
	// HostName: Name of the machine.
	HostName = "host.name"
	// ContainerID: Id of the container.
	ContainerID = "container.id"
	// ContainerName: Name of the container as its runtime has it.
	ContainerName = "container.name"
	// ContainerImageName: Image that the container was made from.
	ContainerImageName = "container.image.name"
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
	// K8sStatefulsetName: Kubernetes stateful set.
	K8sStatefulsetName = "k8s.statefulset.name"
	// K8sDaemonsetName: Kubernetes daemon set.
	K8sDaemonsetName = "k8s.daemonset.name"
	// K8sJobName: Kubernetes job.
	K8sJobName = "k8s.job.name"
	// K8sCronjobName: Kubernetes cron job.
	K8sCronjobName = "k8s.cronjob.name"
	// K8sContainerName: Container within the pod.
	K8sContainerName = "k8s.container.name"
	// ServicePeerName: Logical name of the remote service.
	ServicePeerName = "service.peer.name"
	// ServicePeerNamespace: Group of services that the remote service is in.
	ServicePeerNamespace = "service.peer.namespace"
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
	// NetworkLocalAddress: Address of this end of the connection.
	NetworkLocalAddress = "network.local.address"
	// NetworkLocalPort: Port of this end of the connection.
	NetworkLocalPort = "network.local.port"
	// NetworkIODirection: transmit or receive.
	NetworkIODirection = "network.io.direction"
	// NetworkConnectionState: State of a TCP socket, for example established.
	NetworkConnectionState = "network.connection.state"
	// NetworkProtocolVersion: Version of the protocol, for example 2 of HTTP/2.
	NetworkProtocolVersion = "network.protocol.version"
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
	// DBOperationBatchSize: Operations sent as one.
	DBOperationBatchSize = "db.operation.batch.size"
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
	// KernelTCPRole: Which side of its connections the process is: client or server.
	KernelTCPRole = "kernel.tcp.role"
	// KernelTCPSide: Who closed the window: local or peer.
	KernelTCPSide = "kernel.tcp.side"
	// KernelTCPSRTT: Smoothed round-trip time of the connection in seconds.
	KernelTCPSRTT = "kernel.tcp.srtt"
	// KernelTCPRTTMax: Longest round-trip time of the connection in seconds.
	KernelTCPRTTMax = "kernel.tcp.rtt.max"
	// KernelTCPRetransmits: Segments of the connection that were sent again.
	KernelTCPRetransmits = "kernel.tcp.retransmits"
	// KernelTCPDuration: Seconds that the attempt took or, of a closed connection, that it lived.
	KernelTCPDuration = "kernel.tcp.duration"
	// KernelTCPState: State that the connection was in when it was reset.
	KernelTCPState = "kernel.tcp.state"
	// KernelNetns: Inode number of the network namespace.
	KernelNetns = "kernel.netns"
	// KernelSignal: What was found, for example tcp.retransmits.
	KernelSignal = "kernel.signal"
	// KernelSignalValue: Value that was found.
	KernelSignalValue = "kernel.signal.value"
	// KernelSignalLimit: Limit that the value is above.
	KernelSignalLimit = "kernel.signal.limit"
	// KernelSignalEvidence: What the finding stands on, as sentences.
	KernelSignalEvidence = "kernel.signal.evidence"
	// KernelOOMRSS: Memory that the victim held.
	KernelOOMRSS = "kernel.oom.rss"
	// KernelOOMAnonymous: Of it the part that no file backs.
	KernelOOMAnonymous = "kernel.oom.anonymous"
	// KernelOOMFile: Of it the part that files back.
	KernelOOMFile = "kernel.oom.file"
	// KernelOOMSwap: What the victim had in swap.
	KernelOOMSwap = "kernel.oom.swap"
	// KernelOOMLimit: Limit that was hit.
	KernelOOMLimit = "kernel.oom.limit"
	// KernelOOMUsage: Memory in use below the limit.
	KernelOOMUsage = "kernel.oom.usage"
	// KernelOOMPageCache: Page cache below the limit.
	KernelOOMPageCache = "kernel.oom.page_cache"
	// KernelOOMLimitCgroup: Path of the cgroup whose limit was hit.
	KernelOOMLimitCgroup = "kernel.oom.limit_cgroup"
	// KernelOOMHost: True where no limit was hit: the machine had no memory left.
	KernelOOMHost = "kernel.oom.host"
	// KernelOOMLag: Seconds from the kill until the event was complete.
	KernelOOMLag = "kernel.oom.lag"
	// KernelOOMBy: Process whose request for memory could not be met.
	KernelOOMBy = "kernel.oom.by"
	// KernelOOMScoreAdj: oom_score_adj of the victim.
	KernelOOMScoreAdj = "kernel.oom.score_adj"
	// KernelOOMTop: Largest processes below the limit, JSON.
	KernelOOMTop = "kernel.oom.top"
	// KernelOOMHistory: Memory below the limit over the last minutes, JSON.
	KernelOOMHistory = "kernel.oom.history"
	// KernelAuditSeq: Place of the event among all of one run of the audit; a gap is a loss.
	KernelAuditSeq = "kernel.audit.seq"
	// KernelAuditCall: System call.
	KernelAuditCall = "kernel.audit.call"
	// KernelAuditResult: What the call returned: negative is an error number; of an exit the wait status.
	KernelAuditResult = "kernel.audit.result"
	// KernelAuditDenied: True where the kernel refused the call for want of permission.
	KernelAuditDenied = "kernel.audit.denied"
	// KernelAuditAncestors: Parents of the process, for example "bash(12) < sshd(3)".
	KernelAuditAncestors = "kernel.audit.ancestors"
	// KernelAuditRule: Rule of the worst finding.
	KernelAuditRule = "kernel.audit.rule"
	// KernelAuditSeverity: Severity of the worst finding: info, notice, warning or critical.
	KernelAuditSeverity = "kernel.audit.severity"
	// KernelAuditTechnique: MITRE ATT&CK technique of the worst finding.
	KernelAuditTechnique = "kernel.audit.technique"
	// KernelAuditFindings: All findings, JSON.
	KernelAuditFindings = "kernel.audit.findings"
	// KernelAuditLost: Events that were lost at this place.
	KernelAuditLost = "kernel.audit.lost"
	// KernelAuditRules: Rules of the audit of a host, in force and disabled, JSON.
	KernelAuditRules = "kernel.audit.rules"
	// KernelAuditDetail: Mount source and type, namespaces, traced process, module parameters or program name.
	KernelAuditDetail = "kernel.audit.detail"
	// FilePath: Path of a file that an event is about.
	FilePath = "file.path"
	// KernelCgroup: Path of the cgroup.
	KernelCgroup = "kernel.cgroup"
	// KernelFeature: Feature of the kernel receiver: tcp, dns, oom, audit, profile or attach.
	KernelFeature = "kernel.feature"
	// KernelMissing: What this kernel or process lacks for the feature.
	KernelMissing = "kernel.missing"
	// KernelProgram: Name of a BPF program.
	KernelProgram = "kernel.program"
	// KernelInjectResult: What became of a request that should get a traceparent: written, own (it had one), no_room, many_headers, unexpected, split or unwritable.
	KernelInjectResult = "kernel.inject.result"
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

// Names of events.
const (
	// EventKernelTCPConnectSlow: A connection took long to come about.
	EventKernelTCPConnectSlow = "kernel.tcp.connect_slow"
	// EventKernelTCPConnectFailed: A connection did not come about.
	EventKernelTCPConnectFailed = "kernel.tcp.connect_failed"
	// EventKernelTCPResetSent: This side reset a connection.
	EventKernelTCPResetSent = "kernel.tcp.reset_sent"
	// EventKernelTCPResetReceived: The peer reset a connection.
	EventKernelTCPResetReceived = "kernel.tcp.reset_received"
	// EventKernelTCPClosedBad: A connection ended that had retransmits or long round trips.
	EventKernelTCPClosedBad = "kernel.tcp.closed_bad"
	// EventKernelTCPConnection: A live connection had retransmits or long round trips in the interval.
	EventKernelTCPConnection = "kernel.tcp.connection"
	// EventKernelTCPSignal: A limit was passed in the interval.
	EventKernelTCPSignal = "kernel.tcp.signal"
	// EventKernelOOM: The kernel killed a process for want of memory.
	EventKernelOOM = "kernel.oom"
	// EventKernelAuditPrefix: Beginning of the names of audit events: kernel.audit.exec and so on.
	EventKernelAuditPrefix = "kernel.audit."
	// EventKernelAuditRules: Rules that the audit of a host judges by, told at its start and every hour.
	EventKernelAuditRules = "kernel.audit_rules"
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
	// MetricKernelTCPIO: Bytes acknowledged by the peer (transmit) and received, by flow (counter, By).
	MetricKernelTCPIO = "kernel.tcp.io"
	// MetricKernelTCPSegments: Segments with data sent, first times and again (counter, {segment}).
	MetricKernelTCPSegments = "kernel.tcp.segments"
	// MetricKernelTCPRetransmits: Segments sent again (counter, {segment}).
	MetricKernelTCPRetransmits = "kernel.tcp.retransmits"
	// MetricKernelTCPOutOfOrder: Segments that came out of order (counter, {segment}).
	MetricKernelTCPOutOfOrder = "kernel.tcp.out_of_order"
	// MetricKernelTCPRTT: Round-trip times while connections live (histogram, s).
	MetricKernelTCPRTT = "kernel.tcp.rtt"
	// MetricKernelTCPConnectDuration: From SYN to SYN-ACK as the client saw it (histogram, s).
	MetricKernelTCPConnectDuration = "kernel.tcp.connect.duration"
	// MetricKernelTCPConnectFailures: Connections that did not come about by reason (counter, {connection}).
	MetricKernelTCPConnectFailures = "kernel.tcp.connect.failures"
	// MetricKernelTCPAccepts: Connections that a server took (counter, {connection}).
	MetricKernelTCPAccepts = "kernel.tcp.accepts"
	// MetricKernelTCPAcceptWait: Time that accepted connections or their first data waited to be read (counter, s).
	MetricKernelTCPAcceptWait = "kernel.tcp.accept.wait"
	// MetricKernelTCPAcceptWaits: Connections that kernel.tcp.accept.wait is about (counter, {connection}).
	MetricKernelTCPAcceptWaits = "kernel.tcp.accept.waits"
	// MetricKernelTCPConnections: Connections open at the end of the interval (gauge, {connection}).
	MetricKernelTCPConnections = "kernel.tcp.connections"
	// MetricKernelTCPCloses: Connections that ended (counter, {connection}).
	MetricKernelTCPCloses = "kernel.tcp.closes"
	// MetricKernelTCPTimeWaits: Connections that left a socket in TIME_WAIT here (counter, {connection}).
	MetricKernelTCPTimeWaits = "kernel.tcp.time_waits"
	// MetricKernelTCPResets: Resets sent and received (counter, {reset}).
	MetricKernelTCPResets = "kernel.tcp.resets"
	// MetricKernelTCPZeroWindows: Times a receiver closed its window (counter, {event}).
	MetricKernelTCPZeroWindows = "kernel.tcp.zero_windows"
	// MetricKernelTCPSockets: Sockets of a network namespace by state (gauge, {socket}).
	MetricKernelTCPSockets = "kernel.tcp.sockets"
	// MetricKernelTCPListenOverflows: Connections that found a full accept queue (counter, {connection}).
	MetricKernelTCPListenOverflows = "kernel.tcp.listen.overflows"
	// MetricKernelTCPListenDrops: Connections and SYNs that listening sockets dropped (counter, {connection}).
	MetricKernelTCPListenDrops = "kernel.tcp.listen.drops"
	// MetricKernelTCPListenQueue: Connections that nobody accepted yet by listener (gauge, {connection}).
	MetricKernelTCPListenQueue = "kernel.tcp.listen.queue"
	// MetricKernelTCPListenLimit: How many such connections a listener may have (gauge, {connection}).
	MetricKernelTCPListenLimit = "kernel.tcp.listen.limit"
	// MetricGuanlanKernelEvents: Events that a feature handed over (counter, {event}).
	MetricGuanlanKernelEvents = "guanlan.kernel.events"
	// MetricGuanlanKernelDropped: Events that a feature lost for want of room, in the kernel or behind it (counter, {event}).
	MetricGuanlanKernelDropped = "guanlan.kernel.dropped"
	// MetricGuanlanKernelFolded: Sets of series summed up under other for want of room (counter, {series}).
	MetricGuanlanKernelFolded = "guanlan.kernel.folded"
	// MetricGuanlanKernelProgramRuns: Runs of a BPF program (counter, {run}).
	MetricGuanlanKernelProgramRuns = "guanlan.kernel.program.runs"
	// MetricGuanlanKernelProgramTime: CPU time of the runs of a BPF program (counter, s).
	MetricGuanlanKernelProgramTime = "guanlan.kernel.program.time"
	// MetricGuanlanKernelInjectRequests: Requests of attached programs, by what became of the traceparent that they should get (counter, {request}).
	MetricGuanlanKernelInjectRequests = "guanlan.kernel.inject.requests"
	// MetricGuanlanKernelFeatureUp: 1 while the feature runs, 0 where this kernel or process cannot do it (gauge, {feature}).
	MetricGuanlanKernelFeatureUp = "guanlan.kernel.feature.up"
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
