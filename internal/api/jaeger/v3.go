package jaeger

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc/codes"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

func (d *Door) routesV3(mux *http.ServeMux) {
	handle := func(path string, f func(*http.Request) (any, error)) {
		mux.HandleFunc("GET /jaeger/api/v3"+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			if err != nil {
				d.failV3(w, r, err)
				return
			}
			writeV3(w, http.StatusOK, v)
		})
	}
	handle("/services", func(r *http.Request) (any, error) {
		names, err := d.services(r.Context())
		return map[string]any{"services": names}, err
	})
	handle("/operations", func(r *http.Request) (any, error) {
		q := r.URL.Query()
		ops, err := d.operations(r.Context(), q.Get("service"), strings.ToLower(either(q, "spanKind")))
		for i := range ops {
			if ops[i].Kind == "" {
				ops[i].Kind = "internal" // as Jaeger fills it in
			}
		}
		return map[string]any{"operations": ops}, err
	})
	handle("/dependencies", func(r *http.Request) (any, error) {
		q := r.URL.Query()
		start, err := instant(q, "startTime")
		if err != nil {
			return nil, err
		}
		end, err := instant(q, "endTime")
		if err != nil {
			return nil, err
		}
		if !start.Before(end) {
			return nil, malformed("startTime", q.Get("startTime"), "startTime and endTime, in this order")
		}
		calls, err := d.dependencies(r.Context(), start, end)
		list := make([]map[string]string, len(calls))
		for i, c := range calls { // protobuf's JSON has 64-bit integers as strings
			list[i] = map[string]string{"parent": c.Parent, "child": c.Child, "callCount": strconv.FormatUint(c.Count, 10)}
		}
		return map[string]any{"dependencies": list}, err
	})
	handle("/traces", func(r *http.Request) (any, error) {
		s, err := searchV3(r.URL.Query())
		if err != nil {
			return nil, err
		}
		all := ptrace.NewTraces()
		err = d.find(r.Context(), s, func(td ptrace.Traces, _ bool) error {
			td.ResourceSpans().MoveAndAppendTo(all.ResourceSpans())
			return nil
		})
		return resultV3(all, err)
	})
	handle("/traces/{id}", func(r *http.Request) (any, error) {
		q := r.URL.Query()
		id, err := query.ParseTraceID(r.PathValue("id"))
		if err != nil {
			return nil, malformed("trace_id", r.PathValue("id"), "up to 32 hexadecimal digits")
		}
		var hint store.Range
		if hint.Start, err = instant(q, "startTime"); err != nil {
			return nil, err
		}
		if hint.End, err = instant(q, "endTime"); err != nil {
			return nil, err
		}
		td, _, err := d.trace(r.Context(), id, hint)
		return resultV3(td, err)
	})
}

// errNoTraces answers a search that found nothing, which is an error in v3 and
// has this text in Jaeger.
//
//lint:ignore ST1005 Jaeger's clients look for these words.
var errNoTraces = errors.New("No traces found")

// resultV3 wraps OTLP's JSON as a stream's only message.
func resultV3(td ptrace.Traces, err error) (any, error) {
	if err == nil && td.SpanCount() == 0 {
		err = errNoTraces
	}
	if err != nil {
		return nil, err
	}
	var m ptrace.JSONMarshaler
	raw, err := m.MarshalTraces(td)
	if err != nil {
		return nil, err
	}
	return map[string]json.RawMessage{"result": raw}, nil
}

func writeV3(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The status is out; a broken connection is all that can fail now.
	_ = json.NewEncoder(w).Encode(v)
}

func (d *Door) failV3(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusNotFound
	if !errors.Is(err, errNoTraces) {
		code = d.status(r.Context(), err)
	}
	writeV3(w, code, map[string]any{"error": map[string]any{
		"grpcCode": d.code(r.Context(), err), "httpCode": code, "message": err.Error(), "httpStatus": http.StatusText(code),
	}})
}

// code is the gRPC code of an error.
func (d *Door) code(ctx context.Context, err error) codes.Code {
	switch {
	case errors.Is(err, errNoTraces), errors.Is(err, store.ErrNotFound):
		return codes.NotFound
	case errors.Is(err, store.ErrInvalid):
		return codes.InvalidArgument
	case errors.Is(err, store.ErrLimit):
		return codes.ResourceExhausted
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, store.ErrUnavailable):
		return codes.Unavailable
	}
	return codes.Internal
}

// either reads a parameter by its name in protobuf's JSON (startTimeMin) or,
// where that is absent, by its name in the .proto file (start_time_min).
func either(q url.Values, name string) string {
	if v := q.Get(name); v != "" {
		return v
	}
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return q.Get(b.String())
}

// instant reads a time in RFC 3339; absent, it is zero.
func instant(q url.Values, name string) (time.Time, error) {
	v := either(q, name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return time.Time{}, malformed(name, v, "RFC 3339, for example 2026-01-02T15:04:05Z")
	}
	return t, nil
}

func searchV3(q url.Values) (s search, err error) {
	s = search{service: either(q, "query.serviceName"), operation: either(q, "query.operationName")}
	for _, unsupported := range []string{"query.filter", "query.pagination.pageSize", "query.pagination.pageToken"} {
		if q.Has(unsupported) {
			return s, malformed(unsupported, q.Get(unsupported), "none: it is not supported, use query.attributes and query.searchDepth")
		}
	}
	if s.start, err = instant(q, "query.startTimeMin"); err != nil {
		return s, err
	}
	if s.end, err = instant(q, "query.startTimeMax"); err != nil {
		return s, err
	}
	if s.start.IsZero() || s.end.IsZero() {
		return s, malformed("query.startTimeMin", either(q, "query.startTimeMin"), "both query.startTimeMin and query.startTimeMax")
	}
	if v := q.Get("query.attributes"); v != "" {
		if err := json.Unmarshal([]byte(v), &s.attributes); err != nil {
			return s, malformed("query.attributes", v, `a JSON object of strings such as {"http.route":"/"}`)
		}
	}
	depth := either(q, "query.searchDepth")
	if depth == "" {
		depth = q.Get("query.num_traces") // its older name
	}
	if depth != "" {
		if s.limit, err = strconv.Atoi(depth); err != nil || s.limit < 0 {
			return s, malformed("query.searchDepth", depth, "a number")
		}
	}
	for name, to := range map[string]*time.Duration{"query.durationMin": &s.min, "query.durationMax": &s.max} {
		if v := either(q, name); v != "" {
			if *to, err = query.ParseDuration(v); err != nil {
				return s, malformed(name, v, "a duration such as 100ms")
			}
		}
	}
	return s, nil
}
