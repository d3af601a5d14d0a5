package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/internal/store/metric"
)

const (
	protobuf = "application/x-protobuf"
	jsonType = "application/json"
)

// encodings compress a body as HTTP names it.
var encodings = map[string]func([]byte) []byte{
	"": func(b []byte) []byte { return b },
	"gzip": func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, err := w.Write(b)
		if err = errors.Join(err, w.Close()); err != nil {
			panic(err)
		}
		return out.Bytes()
	},
	"zstd": func(b []byte) []byte {
		w, err := zstd.NewWriter(nil)
		if err != nil {
			panic(err)
		}
		return w.EncodeAll(b, nil)
	},
}

// post sends a body that is already compressed to OTLP/HTTP.
func (p *process) post(signal, contentType, encoding, tenant string, body io.Reader) (*http.Response, string, error) {
	path := "/v1/" + signal
	if signal == "profiles" { // not stable yet
		path = "/v1development/profiles"
	}
	req, err := http.NewRequest(http.MethodPost, p.http+path, body)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Content-Type", contentType)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	if tenant != "" {
		req.Header.Set("X-Scope-OrgID", tenant)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res, string(text), err
}

// marshaler is what the three OTLP requests have in common.
type marshaler interface {
	MarshalProto() ([]byte, error)
	MarshalJSON() ([]byte, error)
}

// TestUpTakesEveryDoor sends the three signals through every protocol, format
// and compression of OTLP, and finds them again through the JSON API.
func TestUpTakesEveryDoor(t *testing.T) {
	p := start(t, t.TempDir())
	const rows = 3
	ways := 0
	requests := func(way string) (ptraceotlp.ExportRequest, plogotlp.ExportRequest, pmetricotlp.ExportRequest) {
		ways++
		now, l := time.Now(), labels{{"way", way}}
		return ptraceotlp.NewExportRequestFromTraces(spansOf("doors", rows, now, l)),
			plogotlp.NewExportRequestFromLogs(logsOf("doors", rows, now, l)),
			pmetricotlp.NewExportRequestFromMetrics(gaugeOf("doors", "door", 7, now, l))
	}
	for _, encoding := range []string{"", "gzip", "zstd"} {
		var opts []grpc.DialOption
		if encoding != "" {
			opts = append(opts, grpc.WithDefaultCallOptions(grpc.UseCompressor(encoding)))
		}
		conn := p.dial(t, opts...)
		traces, logs, metrics := requests("grpc " + encoding)
		if _, err := ptraceotlp.NewGRPCClient(conn).Export(t.Context(), traces); err != nil {
			t.Errorf("traces over gRPC %s: %v", encoding, err)
		}
		if _, err := plogotlp.NewGRPCClient(conn).Export(t.Context(), logs); err != nil {
			t.Errorf("logs over gRPC %s: %v", encoding, err)
		}
		if _, err := pmetricotlp.NewGRPCClient(conn).Export(t.Context(), metrics); err != nil {
			t.Errorf("metrics over gRPC %s: %v", encoding, err)
		}
		for _, format := range []string{protobuf, jsonType} {
			traces, logs, metrics := requests(format + " " + encoding)
			for signal, r := range map[string]marshaler{"traces": traces, "logs": logs, "metrics": metrics} {
				marshal := r.MarshalProto
				if format == jsonType {
					marshal = r.MarshalJSON
				}
				body, err := marshal()
				if err != nil {
					t.Fatal(err)
				}
				res, text, err := p.post(signal, format, encoding, "", bytes.NewReader(encodings[encoding](body)))
				if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != format {
					t.Errorf("%s as %s %s: %v %v %s", signal, format, encoding, res, err, text)
				}
			}
		}
	}
	for _, signal := range []string{"traces", "logs"} {
		eventually(t, signal, func() error {
			counts, err := p.counts("", signal, "way", "service.name = doors")
			if err == nil && len(counts) != ways {
				err = fmt.Errorf("got %d ways, want %d: %v", len(counts), ways, counts)
			}
			for way, n := range counts {
				if n != rows {
					err = errors.Join(err, fmt.Errorf("%s: got %d rows, want %d", way, n, rows))
				}
			}
			return err
		})
	}
	eventually(t, "metrics", func() error {
		return p.wantSample("", `sum(door{job="doors"})`, float64(7*ways))
	})
}

// wantSample evaluates PromQL that has one sample and compares its value.
func (p *process) wantSample(tenant, expr string, want float64) error {
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := p.get(tenant, "/api/v1/query", url.Values{"query": {expr}}, &answer); err != nil {
		return err
	}
	if len(answer.Data.Result) != 1 {
		return fmt.Errorf("%s: got %d samples, want 1", expr, len(answer.Data.Result))
	}
	if got := answer.Data.Result[0].Value[1]; got != strconv.FormatFloat(want, 'f', -1, 64) {
		return fmt.Errorf("%s: got %v, want %v", expr, got, want)
	}
	return nil
}

// TestUpSeparatesTenants writes as several tenants over both protocols; each
// sees its own and nothing else.
func TestUpSeparatesTenants(t *testing.T) {
	p := start(t, t.TempDir())
	conn := p.dial(t)
	rows := map[string]int{"": 2, "7": 3, "7:1": 4, "4294967295:4294967295": 5}
	now := time.Now()
	for tenant, n := range rows {
		// The name of the tenant must be text that no parser takes apart.
		l := labels{{"whose", "tenant " + tenant}}
		ctx := t.Context()
		if tenant != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-scope-orgid", tenant)
		}
		if _, err := ptraceotlp.NewGRPCClient(conn).Export(ctx, ptraceotlp.NewExportRequestFromTraces(spansOf("shared", n, now, l))); err != nil {
			t.Errorf("tenant %q: %v", tenant, err)
		}
		body, err := plogotlp.NewExportRequestFromLogs(logsOf("shared", n, now, l)).MarshalProto()
		if err != nil {
			t.Fatal(err)
		}
		if res, text, err := p.post("logs", protobuf, "", tenant, bytes.NewReader(body)); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("tenant %q: %v %v %s", tenant, res, err, text)
		}
		if _, err := pmetricotlp.NewGRPCClient(conn).Export(ctx, pmetricotlp.NewExportRequestFromMetrics(gaugeOf("shared", "own", float64(n), now, l))); err != nil {
			t.Errorf("tenant %q: %v", tenant, err)
		}
	}
	for tenant, n := range rows {
		for _, signal := range []string{"traces", "logs"} {
			eventually(t, signal+" of tenant "+tenant, func() error {
				counts, err := p.counts(tenant, signal, "whose", "service.name = shared")
				if err == nil && (len(counts) != 1 || counts["tenant "+tenant] != uint64(n)) {
					err = fmt.Errorf("got %v, want %d of its own", counts, n)
				}
				return err
			})
		}
		eventually(t, "metrics of tenant "+tenant, func() error { return p.wantSample(tenant, "sum(own)", float64(n)) })
	}
	for _, wrong := range []string{"acme", "1:2:3", "-1", "4294967296"} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-scope-orgid", wrong)
		_, err := ptraceotlp.NewGRPCClient(conn).Export(ctx, ptraceotlp.NewExportRequestFromTraces(spansOf("shared", 1, now, nil)))
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "X-Scope-OrgID") {
			t.Errorf("tenant %q: got %v, want InvalidArgument that names the header", wrong, err)
		}
	}
}

// TestUpLimitsTenantsOfMetrics sends metrics of one tenant more than there may
// be: its sender must not try again for ever.
func TestUpLimitsTenantsOfMetrics(t *testing.T) {
	p := start(t, t.TempDir())
	metrics := pmetricotlp.NewGRPCClient(p.dial(t))
	request := pmetricotlp.NewExportRequestFromMetrics(gaugeOf("crowd", "m", 1, time.Now(), nil))
	export := func(tenant int) error {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-scope-orgid", strconv.Itoa(tenant))
		_, err := metrics.Export(ctx, request)
		return err
	}
	for tenant := range metric.MaxTenants {
		if err := export(tenant); err != nil {
			t.Fatalf("tenant %d: %v", tenant, err)
		}
	}
	helps := func(text string) bool {
		return strings.Contains(text, strconv.Itoa(metric.MaxTenants)+" tenants") && strings.Contains(text, "another instance")
	}
	// Both are what senders do not repeat: see OTLP on failures.
	st := status.Convert(export(metric.MaxTenants))
	if st.Code() != codes.InvalidArgument || len(st.Details()) != 0 || !helps(st.Message()) {
		t.Errorf("gRPC: got %v %v, want InvalidArgument that names the limit and what to do", st, st.Details())
	}
	body, err := request.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	res, text, err := p.post("metrics", protobuf, "", strconv.Itoa(metric.MaxTenants), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusBadRequest || res.Header.Get("Retry-After") != "" || !helps(text) {
		t.Errorf("HTTP: got %s %q, want 400 that names the limit and what to do", res.Status, text)
	}
	p.healthy(t)
}

// TestUpRefusesNonsense sends what no sender should. Each answer is one clear
// error, and the process goes on.
func TestUpRefusesNonsense(t *testing.T) {
	p := start(t, t.TempDir())
	good, err := ptraceotlp.NewExportRequestFromTraces(spansOf("nonsense", 1, time.Now(), nil)).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, format, encoding string
		body                   []byte
		want                   int // 0: any from 400 to 499
	}{
		{"random bytes", protobuf, "", []byte("\xff\xfe\xfd not protobuf at all"), http.StatusBadRequest},
		{"cut protobuf", protobuf, "", good[:len(good)-3], http.StatusBadRequest},
		{"length beyond the end", protobuf, "", []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, http.StatusBadRequest},
		{"negative length", protobuf, "", []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, http.StatusBadRequest},
		{"cut JSON", jsonType, "", []byte(`{"resourceSpans":[{`), http.StatusBadRequest},
		{"JSON of other types", jsonType, "", []byte(`{"resourceSpans":{"a":1}}`), http.StatusBadRequest},
		{"deep JSON", jsonType, "", []byte(strings.Repeat(`{"resourceSpans":[`, 100_000)), http.StatusBadRequest},
		{"no gzip", protobuf, "gzip", good, http.StatusBadRequest},
		{"no zstd", protobuf, "zstd", good, http.StatusBadRequest},
		{"unknown encoding", protobuf, "rot13", good, 0},
		{"unknown format", "text/html", "", good, http.StatusUnsupportedMediaType},
	} {
		res, text, err := p.post("traces", c.format, c.encoding, "", bytes.NewReader(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.want != res.StatusCode && (c.want != 0 || res.StatusCode/100 != 4) {
			t.Errorf("%s: got %s, want %d", c.name, res.Status, c.want)
		}
		if strings.TrimSpace(text) == "" || len(text) > 4<<10 {
			t.Errorf("%s: the answer does not say in short what is wrong: %.200q", c.name, text)
		}
	}
	err = p.dial(t).Invoke(t.Context(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
		[]byte("\xff\xfe\xfd"), new([]byte), grpc.ForceCodec(rawCodec{}))
	if err == nil {
		t.Error("random bytes over gRPC: accepted")
	}
	t.Log("random bytes over gRPC:", err)
	p.healthy(t)
	counts, err := p.counts("", "traces", "service.name", "service.name = nonsense")
	if err != nil || len(counts) != 0 {
		t.Errorf("stored of it: %v, %v", counts, err)
	}
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (rawCodec) Name() string                       { return "proto" }

// TestUpBoundsMemory sends far more at once than may be sent, plain and as
// compressed bombs. The process refuses it and does not keep it in memory.
func TestUpBoundsMemory(t *testing.T) {
	p := start(t, t.TempDir())
	_, before := p.memory(t)
	const huge = 100 << 20
	bomb := make([]byte, huge)
	for _, encoding := range []string{"", "gzip", "zstd"} {
		for _, format := range []string{protobuf, jsonType} {
			res, text, err := p.post("traces", format, encoding, "", bytes.NewReader(encodings[encoding](bomb)))
			if err != nil {
				// The answer may cross with the body that is still coming.
				t.Logf("100 MB as %s %s: %v", format, encoding, err)
				continue
			}
			if res.StatusCode/100 != 4 {
				t.Errorf("100 MB as %s %s: got %s, want 4xx: %.200q", format, encoding, res.Status, text)
			}
		}
		var opts []grpc.CallOption
		if encoding != "" {
			opts = append(opts, grpc.UseCompressor(encoding))
		}
		err := p.dial(t).Invoke(t.Context(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
			bomb, new([]byte), append(opts, grpc.ForceCodec(rawCodec{}))...)
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("100 MB over gRPC %s: got %v, want ResourceExhausted", encoding, err)
		}
	}
	p.healthy(t)
	// Each request may take its 32 MiB twice over: as it comes and decoded.
	const bound = 400 << 20
	now, most := p.memory(t)
	t.Logf("resident: %d MiB before, %d at most, %d now", before>>20, most>>20, now>>20)
	if most-before > bound {
		t.Errorf("memory grew by %d MiB, want at most %d", (most-before)>>20, bound>>20)
	}
}

// drops returns how many rows were not kept, from the status page.
func (p *process) drops() (map[string]uint64, error) {
	var st struct {
		Drops []struct {
			Signal, Reason string
			Count          uint64
		}
	}
	err := p.get("", "/guanlan/v1/status", nil, &st)
	sum := map[string]uint64{}
	for _, d := range st.Drops {
		sum[d.Signal] += d.Count
	}
	return sum, err
}

// TestUpMarksOddities sends telemetry that is decodable and strange. Each row
// is found again or counted as not kept: nothing vanishes.
func TestUpMarksOddities(t *testing.T) {
	p := start(t, t.TempDir())
	conn := p.dial(t)
	now := time.Now()
	traces, logs := ptraceotlp.NewGRPCClient(conn), plogotlp.NewGRPCClient(conn)
	long := strings.Repeat("0123456789", 1<<20)
	year := func(y int) uint64 { // beyond 2262 only unsigned nanoseconds tell it
		return uint64(time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) * uint64(time.Second)
	}
	oddities := []struct {
		name string
		kept bool
		span func(ptraceotlp.ExportRequest)
		logs func(plogotlp.ExportRequest)
	}{
		{name: "no time", kept: true, span: spanTimes(0, 0), logs: logTime(0)},
		{name: "1970", kept: false, span: spanTimes(1e9, 2e9), logs: logTime(1e9)},
		{name: "2500", kept: true, span: spanTimes(year(2500), year(2500)+1), logs: logTime(year(2500))},
		{name: "the end of time", kept: true, span: spanTimes(1, 1<<64-1), logs: logTime(1<<64 - 1)},
		{name: "ends before it starts", kept: true, span: spanTimes(uint64(now.UnixNano()), uint64(now.UnixNano())-1e9), logs: logTime(uint64(now.UnixNano()))},
		{name: "10 MB attribute", kept: true,
			span: func(r ptraceotlp.ExportRequest) { firstSpan(r).Attributes().PutStr("long", long) },
			logs: func(r plogotlp.ExportRequest) { firstRecord(r).Attributes().PutStr("long", long) }},
		{name: "10 MB name and body", kept: true,
			span: func(r ptraceotlp.ExportRequest) { firstSpan(r).SetName(long) },
			logs: func(r plogotlp.ExportRequest) { firstRecord(r).Body().SetStr(long) }},
		{name: "zero ids", kept: true,
			span: func(r ptraceotlp.ExportRequest) {
				firstSpan(r).SetTraceID([16]byte{})
				firstSpan(r).SetSpanID([8]byte{})
			},
			logs: func(r plogotlp.ExportRequest) { firstRecord(r).SetTraceID([16]byte{}) }},
		{name: "5000 attributes", kept: true,
			span: func(r ptraceotlp.ExportRequest) {
				for i := range 5000 {
					firstSpan(r).Attributes().PutInt("key"+strconv.Itoa(i), int64(i))
				}
			},
			logs: func(r plogotlp.ExportRequest) {
				for i := range 5000 {
					firstRecord(r).Attributes().PutInt("key"+strconv.Itoa(i), int64(i))
				}
			}},
	}
	keptRows, droppedRows := 0, uint64(0)
	for _, o := range oddities {
		l := labels{{"odd", o.name}}
		tr := ptraceotlp.NewExportRequestFromTraces(spansOf("odd", 1, now, l))
		lr := plogotlp.NewExportRequestFromLogs(logsOf("odd", 1, now, l))
		o.span(tr)
		o.logs(lr)
		if _, err := traces.Export(t.Context(), tr); err != nil {
			t.Errorf("%s: span: %v", o.name, err)
		}
		if _, err := logs.Export(t.Context(), lr); err != nil {
			t.Errorf("%s: log: %v", o.name, err)
		}
		if o.kept {
			keptRows++
		} else {
			droppedRows++
		}
	}
	for _, signal := range []string{"traces", "logs"} {
		eventually(t, signal, func() error {
			counts, err := p.counts("", signal, "odd", "service.name = odd")
			for _, o := range oddities {
				if err == nil && (counts[o.name] == 1) != o.kept {
					err = fmt.Errorf("%s: got %d rows, kept should be %v", o.name, counts[o.name], o.kept)
				}
			}
			if err != nil {
				return err
			}
			drops, err := p.drops()
			if err == nil && drops[signal] != droppedRows {
				err = fmt.Errorf("status counts %v as dropped, want %d", drops, droppedRows)
			}
			return err
		})
	}
	// What is stored can be shown: lists, page by page, and every trace.
	type trace struct{ TraceID, Name string }
	var list []trace
	seen := map[string]bool{}
	params := url.Values{"filter": {"service.name = odd"}, "limit": {"1"}, "end": {"now"}}
	for pages := 0; ; pages++ {
		var page struct {
			Traces []trace
			Next   string
		}
		if err := p.get("", "/guanlan/v1/traces", params, &page); err != nil {
			t.Fatal(err)
		}
		for _, tr := range page.Traces {
			if seen[tr.TraceID] {
				t.Errorf("trace %s is on two pages", tr.TraceID)
			}
			seen[tr.TraceID] = true
		}
		list = append(list, page.Traces...)
		if page.Next == "" {
			break
		}
		if pages > 2*keptRows {
			t.Fatalf("the list does not end after %d pages", pages)
		}
		params.Set("cursor", page.Next)
	}
	if want := keptRows - 1; len(list) != want { // the span of zero ids is of no trace
		t.Errorf("list shows %d traces, want %d", len(list), want)
	}
	for _, tr := range list {
		var whole struct{ SpanList []struct{ Name string } }
		if err := p.get("", "/guanlan/v1/traces/"+tr.TraceID, nil, &whole); err != nil {
			t.Errorf("trace %s %.20q: %v", tr.TraceID, tr.Name, err)
		} else if len(whole.SpanList) != 1 {
			t.Errorf("trace %s %.20q: got %d spans, want 1", tr.TraceID, tr.Name, len(whole.SpanList))
		}
	}
	var logList struct{ Logs []struct{ Body string } }
	if err := p.get("", "/guanlan/v1/logs", url.Values{"filter": {"service.name = odd"}, "limit": {"100"}}, &logList); err != nil {
		t.Fatal(err)
	}
	if len(logList.Logs) != keptRows {
		t.Errorf("list shows %d records, want %d", len(logList.Logs), keptRows)
	}
	p.healthy(t)
}

// TestUpMendsText sends text that is not UTF-8. It is refused, or kept with
// the wrong bytes replaced: the API must stay valid JSON.
func TestUpMendsText(t *testing.T) {
	p := start(t, t.TempDir())
	const wrong = "caf\xe9 \xff\xfe"
	now := time.Now()
	l := labels{{"key", wrong}, {"mended", "yes"}}
	td := spansOf("latin", 1, now, l)
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SetName(wrong)
	ld := logsOf("latin", 1, now, l)
	ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().SetStr(wrong)
	conn := p.dial(t)
	_, spanErr := ptraceotlp.NewGRPCClient(conn).Export(t.Context(), ptraceotlp.NewExportRequestFromTraces(td))
	_, logErr := plogotlp.NewGRPCClient(conn).Export(t.Context(), plogotlp.NewExportRequestFromLogs(ld))
	for signal, err := range map[string]error{"traces": spanErr, "logs": logErr} {
		if err != nil {
			if code := status.Code(err); code != codes.InvalidArgument && code != codes.Internal {
				t.Errorf("%s: got %v, want it kept or InvalidArgument", signal, err)
			}
			t.Logf("%s: refused: %v", signal, err)
			continue
		}
		eventually(t, signal, func() error {
			counts, err := p.counts("", signal, "key", "mended = yes")
			if err == nil && (len(counts) != 1 || counts["caf\uFFFD \uFFFD"] != 1) {
				err = fmt.Errorf("got %v, want the text with the wrong bytes replaced", counts)
			}
			return err
		})
	}
	// A metric's labels may be refused; its neighbour in the batch is not.
	md := gaugeOf("latin", "mended", 1, now, labels{{"key", wrong}})
	gaugeOf("latin", "sound", 2, now, nil).ResourceMetrics().At(0).CopyTo(md.ResourceMetrics().AppendEmpty())
	_, err := pmetricotlp.NewGRPCClient(conn).Export(context.Background(), pmetricotlp.NewExportRequestFromMetrics(md))
	t.Log("metrics:", cmp.Or(err, errors.New("kept")))
	eventually(t, "metrics", func() error { return p.wantSample("", `sum(sound{job="latin"})`, 2) })
	var answer struct{ Status string }
	for _, path := range []string{"/api/v1/query", "/api/v1/series", "/api/v1/label/key/values"} {
		if err := p.get("", path, url.Values{"query": {"mended"}, "match[]": {"mended"}}, &answer); err != nil || answer.Status != "success" {
			t.Errorf("metrics: %v %v", answer, err)
		}
	}
	p.healthy(t)
}
