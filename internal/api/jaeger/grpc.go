package jaeger

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/guanlan-io/guanlan/internal/api/jaeger/apiv3"
	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

// maxPart bounds the spans of one message, in bytes: clients of gRPC refuse
// messages above 4 MiB unless told otherwise.
const maxPart = 1 << 20

func (d *Door) fail(ctx context.Context, err error) error {
	code := d.code(ctx, err)
	if code == codes.Internal {
		d.log.ErrorContext(ctx, "answer a Jaeger request", "error", err)
	}
	return status.Error(code, err.Error())
}

// GetServices implements apiv3.QueryServiceServer.
func (d *Door) GetServices(ctx context.Context, _ *apiv3.GetServicesRequest) (*apiv3.GetServicesResponse, error) {
	ctx, done := context.WithTimeout(ctx, timeLimit)
	defer done()
	names, err := d.services(ctx)
	if err != nil {
		return nil, d.fail(ctx, err)
	}
	return &apiv3.GetServicesResponse{Services: names}, nil
}

// GetOperations implements apiv3.QueryServiceServer.
func (d *Door) GetOperations(ctx context.Context, req *apiv3.GetOperationsRequest) (*apiv3.GetOperationsResponse, error) {
	ctx, done := context.WithTimeout(ctx, timeLimit)
	defer done()
	ops, err := d.operations(ctx, req.GetService(), req.GetSpanKind())
	if err != nil {
		return nil, d.fail(ctx, err)
	}
	res := &apiv3.GetOperationsResponse{}
	for _, op := range ops {
		res.Operations = append(res.Operations, &apiv3.Operation{Name: op.Name, SpanKind: op.Kind})
	}
	return res, nil
}

// GetDependencies implements apiv3.QueryServiceServer.
func (d *Door) GetDependencies(ctx context.Context, req *apiv3.GetDependenciesRequest) (*apiv3.DependenciesResponse, error) {
	ctx, done := context.WithTimeout(ctx, timeLimit)
	defer done()
	start, end := clock(req.GetStartTime()), clock(req.GetEndTime())
	if !start.Before(end) {
		return nil, status.Error(codes.InvalidArgument, "start_time and end_time are required, in this order")
	}
	calls, err := d.dependencies(ctx, start, end)
	if err != nil {
		return nil, d.fail(ctx, err)
	}
	res := &apiv3.DependenciesResponse{}
	for _, c := range calls {
		res.Dependencies = append(res.Dependencies, &apiv3.Dependency{Parent: c.Parent, Child: c.Child, CallCount: c.Count})
	}
	return res, nil
}

// GetTrace implements apiv3.QueryServiceServer.
func (d *Door) GetTrace(req *apiv3.GetTraceRequest, stream grpc.ServerStreamingServer[apiv3.TracesData]) error {
	ctx, done := context.WithTimeout(stream.Context(), timeLimit)
	defer done()
	id, err := query.ParseTraceID(req.GetTraceId())
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "trace_id %q: %v", req.GetTraceId(), err)
	}
	td, _, err := d.trace(ctx, id, store.Range{Start: clock(req.GetStartTime()), End: clock(req.GetEndTime())})
	if err != nil {
		return d.fail(ctx, err)
	}
	return send(stream, td)
}

// FindTraces implements apiv3.QueryServiceServer.
func (d *Door) FindTraces(req *apiv3.FindTracesRequest, stream grpc.ServerStreamingServer[apiv3.TracesData]) error {
	ctx, done := context.WithTimeout(stream.Context(), timeLimit)
	defer done()
	q := req.GetQuery()
	s := search{
		service: q.GetServiceName(), operation: q.GetOperationName(), attributes: q.GetAttributes(),
		start: clock(q.GetStartTimeMin()), end: clock(q.GetStartTimeMax()),
		min: q.GetDurationMin().AsDuration(), max: q.GetDurationMax().AsDuration(), limit: int(q.GetSearchDepth()),
	}
	switch {
	case s.start.IsZero() || s.end.IsZero():
		return status.Error(codes.InvalidArgument, "start_time_min and start_time_max are required")
	case len(q.GetFilter()) > 0 || len(q.GetPagination()) > 0:
		return status.Error(codes.Unimplemented, "filter and pagination are not supported; use attributes and search_depth")
	}
	var broken error // of the stream, which has its own code
	err := d.find(ctx, s, func(td ptrace.Traces, _ bool) error {
		broken = send(stream, td)
		return broken
	})
	if err != nil && broken == nil {
		err = d.fail(ctx, err)
	}
	return err
}

// clock reads a time; an absent one is zero.
func clock(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// send writes a trace in parts that clients accept.
func send(stream grpc.ServerStreamingServer[apiv3.TracesData], td ptrace.Traces) error {
	var m ptrace.ProtoMarshaler
	part, size := ptrace.NewTraces(), 0
	flush := func() error {
		if size == 0 {
			return nil
		}
		raw, err := m.MarshalTraces(part)
		var msg apiv3.TracesData
		if err == nil {
			err = proto.Unmarshal(raw, &msg)
		}
		if err != nil {
			return fmt.Errorf("encode trace: %w", err)
		}
		part, size = ptrace.NewTraces(), 0
		return stream.Send(&msg)
	}
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			fresh := true
			var to ptrace.ScopeSpans
			for _, span := range ss.Spans().All() {
				n := m.SpanSize(span)
				if size > 0 && size+n > maxPart {
					if err := flush(); err != nil {
						return err
					}
					fresh = true
				}
				if fresh {
					fresh = false
					r := part.ResourceSpans().AppendEmpty()
					rs.Resource().CopyTo(r.Resource())
					r.SetSchemaUrl(rs.SchemaUrl())
					to = r.ScopeSpans().AppendEmpty()
					ss.Scope().CopyTo(to.Scope())
					to.SetSchemaUrl(ss.SchemaUrl())
				}
				span.MoveTo(to.Spans().AppendEmpty())
				size += n
			}
		}
	}
	return flush()
}
