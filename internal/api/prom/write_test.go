package prom

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/golang/snappy"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	client "github.com/prometheus/client_golang/api/prometheus/v1"
	rw "github.com/prometheus/client_golang/exp/api/remote"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	protov2 "google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/metric"
)

// query renders an instant query's vector.
func (f *fixture) query(t testing.TB, expr string, at time.Time) string {
	t.Helper()
	v, _, err := f.client(t).Query(context.Background(), expr, at)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range v.(model.Vector) {
		if s.Histogram != nil {
			out = append(out, fmt.Sprintf("%s count %v", s.Metric, s.Histogram.Count))
		} else {
			out = append(out, fmt.Sprintf("%s %v", s.Metric, s.Value))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func requestV1(now time.Time, bad bool) *prompb.WriteRequest {
	ms := now.UnixMilli()
	ls := func(name string) []prompb.Label { return []prompb.Label{{Name: "__name__", Value: name}} }
	req := &prompb.WriteRequest{
		Metadata: []prompb.MetricMetadata{{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "a", Help: "Help of a."}},
		Timeseries: []prompb.TimeSeries{
			{Labels: ls("a"), Samples: []prompb.Sample{{Timestamp: ms - 1000, Value: 1}, {Timestamp: ms, Value: 2}},
				Exemplars: []prompb.Exemplar{{Labels: []prompb.Label{{Name: "trace_id", Value: "t"}}, Value: 1, Timestamp: ms}}},
			{Labels: ls("h"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(ms, nativeHistogram())}},
			{Labels: ls("fh"), Histograms: []prompb.Histogram{prompb.FromFloatHistogram(ms, nativeHistogram().ToFloat(nil))}},
		},
	}
	if bad {
		broken := nativeHistogram()
		broken.Count = 1
		req.Timeseries = append([]prompb.TimeSeries{
			{Labels: ls("future"), Samples: []prompb.Sample{{Timestamp: now.Add(time.Hour).UnixMilli(), Value: 1}}},
			{Labels: []prompb.Label{{Name: "noname", Value: "x"}}, Samples: []prompb.Sample{{Timestamp: ms, Value: 1}}},
			{Labels: []prompb.Label{{Name: "__name__", Value: "x"}, {Name: "l", Value: "1"}, {Name: "l", Value: "2"}}, Samples: []prompb.Sample{{Timestamp: ms, Value: 1}}},
			{Labels: ls("broken"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(ms, broken)}},
		}, req.Timeseries...)
	}
	return req
}

// TestTenantLimit opens as many tenants as there may be: senders of one more
// must not try again.
func TestTenantLimit(t *testing.T) {
	f := serve(t)
	now := time.Now()
	f.put(t, store.Tenant{}, now, 1, "__name__", "m")
	for i := 1; i < metric.MaxTenants; i++ {
		f.put(t, store.Tenant{Account: uint32(i)}, now, 1, "__name__", "m")
	}
	const one = "1000"
	want := func(what string, code int, h http.Header, body string) {
		t.Helper()
		if code != http.StatusBadRequest || h.Get("Retry-After") != "" || !strings.Contains(body, "64 tenants") || !strings.Contains(body, "another instance") {
			t.Errorf("%s: got %d %v %q, want 400 that names the limit and what to do", what, code, h, body)
		}
	}
	v1, err := proto.Marshal(requestV1(now, false))
	if err != nil {
		t.Fatal(err)
	}
	code, h, body := f.do(t, http.MethodPost, "/api/v1/write", bytes.NewReader(snappy.Encode(nil, v1)), "X-Scope-OrgID", one)
	want("remote write", code, h, body)
	export, err := otlp(now, 0).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	code, h, body = f.do(t, http.MethodPost, "/api/v1/otlp/v1/metrics", bytes.NewReader(export), "Content-Type", "application/json", "X-Scope-OrgID", one)
	want("OTLP", code, h, body)
	// One that another process kept.
	if err := os.Mkdir(filepath.Join(f.dir, one), 0o755); err != nil {
		t.Fatal(err)
	}
	code, h, body = f.get(t, "/api/v1/query?query=m", "X-Scope-OrgID", one)
	want("query", code, h, body)
	code, h, body = f.get(t, "/api/v1/labels", "X-Scope-OrgID", one)
	want("labels", code, h, body)
	code, h, body = f.get(t, "/api/v1/metadata", "X-Scope-OrgID", one)
	want("metadata", code, h, body)
	if code, _, body := f.get(t, "/api/v1/query?query=m", "X-Scope-OrgID", "5"); code != 200 || !strings.Contains(body, `"1"`) {
		t.Errorf("another tenant: got %d %s", code, body)
	}
}

func nativeHistogram() *histogram.Histogram {
	return &histogram.Histogram{
		Count: 5, Sum: 18, Schema: 1, ZeroThreshold: 1e-128,
		PositiveSpans:   []histogram.Span{{Offset: 0, Length: 2}},
		PositiveBuckets: []int64{2, 1},
	}
}

const allOfIt = "a 2\nfh count 5\nh count 5"

func TestRemoteWriteV1(t *testing.T) {
	f := serve(t)
	now := time.Now().Truncate(time.Second)
	post := func(req *prompb.WriteRequest) (int, string) {
		raw, err := proto.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		code, _, body := f.do(t, http.MethodPost, "/api/v1/write", bytes.NewReader(snappy.Encode(nil, raw)),
			"Content-Encoding", "snappy", "Content-Type", "application/x-protobuf", "X-Prometheus-Remote-Write-Version", "0.1.0")
		return code, body
	}
	if code, body := post(requestV1(now, false)); code != http.StatusNoContent {
		t.Fatalf("got %d %s", code, body)
	}
	if code, body := post(requestV1(now, false)); code != http.StatusNoContent {
		t.Errorf("again: got %d %s", code, body)
	}
	if got := f.query(t, `{__name__!=""}`, now); got != allOfIt {
		t.Errorf("got\n%s\nwant\n%s", got, allOfIt)
	}
	ex, err := f.client(t).QueryExemplars(context.Background(), "a", now.Add(-time.Minute), now.Add(time.Minute))
	if err != nil || len(ex) != 1 {
		t.Errorf("exemplars: got %v, %v", ex, err)
	}
	md, err := f.client(t).Metadata(context.Background(), "a", "")
	if d := cmp.Diff(map[string][]client.Metadata{"a": {{Type: client.MetricTypeCounter, Help: "Help of a."}}}, md); d != "" || err != nil {
		t.Errorf("metadata: %v %s", err, d)
	}

	// The bad come first: the good must be kept all the same.
	f = serve(t)
	code, body := post(requestV1(now, true))
	if code != http.StatusBadRequest || !strings.Contains(body, "4 samples refused") || !strings.Contains(body, "too_new: 1") {
		t.Errorf("bad samples: got %d %s", code, body)
	}
	if got := f.query(t, `{__name__!=""}`, now); got != allOfIt {
		t.Errorf("got\n%s\nwant\n%s", got, allOfIt)
	}
	want := map[metric.Reason]uint64{metric.TooNew: 1, metric.InvalidLabels: 2, metric.InvalidHistogram: 1}
	for r, n := range f.store.Stats().Rejected {
		if n != want[r] {
			t.Errorf("rejected %s: got %d, want %d", r, n, want[r])
		}
	}
}

// TestRemoteWriteClients sends with the two clients that exist.
func TestRemoteWriteClients(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	v2 := func(bad bool) *writev2.Request {
		st := writev2.NewSymbolTable()
		req := &writev2.Request{}
		add := func(ts writev2.TimeSeries, name string) {
			ts.LabelsRefs = st.SymbolizeLabels(labels.FromStrings("__name__", name), nil)
			req.Timeseries = append(req.Timeseries, ts)
		}
		if bad {
			add(writev2.TimeSeries{Samples: []writev2.Sample{{Timestamp: now.Add(time.Hour).UnixMilli()}}}, "future")
			add(writev2.TimeSeries{}, "empty")
			req.Timeseries = append(req.Timeseries, writev2.TimeSeries{LabelsRefs: []uint32{900, 901}, Samples: []writev2.Sample{{Timestamp: 1}}})
		}
		add(writev2.TimeSeries{
			Samples:   []writev2.Sample{{Timestamp: now.UnixMilli(), Value: 2}},
			Exemplars: []writev2.Exemplar{{LabelsRefs: st.SymbolizeLabels(labels.FromStrings("trace_id", "t"), nil), Value: 1, Timestamp: now.UnixMilli()}},
			Metadata:  writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER, HelpRef: st.Symbolize("Help of a.")},
		}, "a")
		add(writev2.TimeSeries{Histograms: []writev2.Histogram{writev2.FromIntHistogram(0, now.UnixMilli(), nativeHistogram())}}, "h")
		add(writev2.TimeSeries{Histograms: []writev2.Histogram{writev2.FromFloatHistogram(0, now.UnixMilli(), nativeHistogram().ToFloat(nil))}}, "fh")
		req.Symbols = st.Symbols()
		return req
	}
	t.Run("client_golang", func(t *testing.T) {
		f := serve(t)
		c, err := rw.NewAPI(f.url, rw.WithAPIPath("api/v1/write"))
		if err != nil {
			t.Fatal(err)
		}
		stats, err := c.Write(context.Background(), rw.WriteV2MessageType, v2(false))
		if err != nil || stats.Samples != 1 || stats.Histograms != 2 || stats.Exemplars != 1 {
			t.Errorf("got %+v, %v", stats, err)
		}
		if got := f.query(t, `{__name__!=""}`, now); got != allOfIt {
			t.Errorf("got\n%s\nwant\n%s", got, allOfIt)
		}
		md, err := f.client(t).Metadata(context.Background(), "a", "")
		if err != nil || len(md["a"]) != 1 || md["a"][0].Help != "Help of a." {
			t.Errorf("metadata: got %v, %v", md, err)
		}
	})
	t.Run("partial", func(t *testing.T) {
		f := serve(t)
		c, err := rw.NewAPI(f.url, rw.WithAPIPath("api/v1/write"))
		if err != nil {
			t.Fatal(err)
		}
		stats, err := c.Write(context.Background(), rw.WriteV2MessageType, v2(true))
		if err == nil || !strings.Contains(err.Error(), "400") || stats.Samples != 1 || stats.Histograms != 2 {
			t.Errorf("got %+v, %v; want 400 and what was written", stats, err)
		}
		if got := f.query(t, `{__name__!=""}`, now); got != allOfIt {
			t.Errorf("got\n%s\nwant\n%s", got, allOfIt)
		}
	})
	t.Run("prometheus", func(t *testing.T) {
		f := serve(t)
		u, err := url.Parse(f.url + "/api/v1/write")
		if err != nil {
			t.Fatal(err)
		}
		c, err := remote.NewWriteClient("test", &remote.ClientConfig{
			URL: &commonconfig.URL{URL: u}, Timeout: model.Duration(time.Minute),
			WriteProtoMsg: rw.WriteV1MessageType, Headers: map[string]string{"X-Scope-OrgID": "4"},
		})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := proto.Marshal(requestV1(now, false))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Store(context.Background(), snappy.Encode(nil, raw), 0); err != nil {
			t.Fatal(err)
		}
		if got := f.query(t, `{__name__!=""}`, now); got != "" {
			t.Errorf("default tenant: got %s", got)
		}
		if _, _, body := f.get(t, "/api/v1/query?query=a", "X-Scope-OrgID", "4"); !strings.Contains(body, `"2"`) {
			t.Errorf("tenant 4: got %s", body)
		}
	})
}

func TestRemoteRead(t *testing.T) {
	f := serve(t)
	now := time.Now().Truncate(time.Second)
	for i := range 10 {
		f.put(t, store.Tenant{}, now.Add(time.Duration(i-9)*time.Second), float64(i), "__name__", "m", "job", "a")
	}
	u, err := url.Parse(f.url + "/api/v1/read")
	if err != nil {
		t.Fatal(err)
	}
	for _, chunked := range []bool{false, true} {
		accepted := []prompb.ReadRequest_ResponseType{prompb.ReadRequest_SAMPLES}
		if chunked {
			accepted = []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS}
		}
		c, err := remote.NewReadClient("test", &remote.ClientConfig{URL: &commonconfig.URL{URL: u}, Timeout: model.Duration(time.Minute), ChunkedReadLimit: 1 << 20, AcceptedResponseTypes: accepted})
		if err != nil {
			t.Fatal(err)
		}
		q, err := remote.ToQuery(now.Add(-5*time.Second).UnixMilli(), now.UnixMilli(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", "m")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		set, err := c.Read(context.Background(), q, true)
		if err != nil {
			t.Fatal(err)
		}
		var got []float64
		for set.Next() {
			it := set.At().Iterator(nil)
			for it.Next() == chunkenc.ValFloat {
				if at, v := it.At(); at >= now.Add(-5*time.Second).UnixMilli() {
					got = append(got, v)
				}
			}
		}
		if d := cmp.Diff([]float64{4, 5, 6, 7, 8, 9}, got); d != "" || set.Err() != nil {
			t.Errorf("chunked %v: %v %s", chunked, set.Err(), d)
		}
	}
}

func otlp(now time.Time, bad int) pmetricotlp.ExportRequest {
	md := pmetric.NewMetrics()
	ms := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	add := func(name string, at time.Time) {
		m := ms.AppendEmpty()
		m.SetName(name)
		p := m.SetEmptyGauge().DataPoints().AppendEmpty()
		p.SetTimestamp(pcommon.NewTimestampFromTime(at))
		p.SetIntValue(7)
	}
	add("good", now)
	for i := range bad {
		add(fmt.Sprintf("bad%d", i), now.Add(time.Hour))
	}
	return pmetricotlp.NewExportRequestFromMetrics(md)
}

func TestOTLP(t *testing.T) {
	now := time.Now()
	req := otlp(now, 2)
	raw, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	js, err := req.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(raw)
	z.Close()
	zenc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	const pb = "application/x-protobuf"
	for name, c := range map[string]struct {
		body        []byte
		contentType string
		encoding    string
		code        int
	}{
		"protobuf":       {raw, pb, "", 200},
		"JSON":           {js, "application/json; charset=utf-8", "", 200},
		"gzip":           {zipped.Bytes(), pb, "gzip", 200},
		"zstd":           {zenc.EncodeAll(raw, nil), pb, "zstd", 200},
		"garbage":        {[]byte("garbage"), pb, "", 400},
		"not gzip":       {raw, pb, "gzip", 400},
		"bad JSON":       {[]byte("{"), "application/json", "", 400},
		"other type":     {raw, "text/plain", "", 415},
		"other encoding": {raw, pb, "br", 415},
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t)
			code, h, body := f.do(t, http.MethodPost, "/api/v1/otlp/v1/metrics", bytes.NewReader(c.body), "Content-Type", c.contentType, "Content-Encoding", c.encoding)
			if code != c.code {
				t.Fatalf("got %d %q, want %d", code, body, c.code)
			}
			asJSON := strings.HasPrefix(c.contentType, "application/json")
			if want := map[bool]string{true: "application/json", false: pb}[asJSON]; h.Get("Content-Type") != want {
				t.Errorf("content type: got %s, want %s", h.Get("Content-Type"), want)
			}
			if c.code != 200 {
				var st rpc.Status
				if !asJSON && (protov2.Unmarshal([]byte(body), &st) != nil || st.Message == "" || st.Code != 3) {
					t.Errorf("error: got %q, want a google.rpc.Status", body)
				}
				return
			}
			resp := pmetricotlp.NewExportResponse()
			if asJSON {
				err = resp.UnmarshalJSON([]byte(body))
			} else {
				err = resp.UnmarshalProto([]byte(body))
			}
			if err != nil || resp.PartialSuccess().RejectedDataPoints() != 2 || !strings.Contains(resp.PartialSuccess().ErrorMessage(), "too_new: 2") {
				t.Errorf("got %q, %v", body, err)
			}
			if got := f.query(t, `{__name__!=""}`, now); got != "good 7" {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestBodiesAreBounded(t *testing.T) {
	f := serve(t, func(o *Options) { o.MaxBody = 1000 })
	big := bytes.Repeat([]byte("x"), 2000)
	bomb := snappy.Encode(nil, make([]byte, 1000*maxUnpacked+1))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(make([]byte, 1000*maxUnpacked+1))
	z.Close()
	if len(bomb) > 1000 || zipped.Len() > 1000 {
		t.Fatal("the bombs are too large to test with")
	}
	for name, c := range map[string]struct {
		path     string
		body     []byte
		encoding string
	}{
		"remote write":      {"/api/v1/write", big, "snappy"},
		"remote write bomb": {"/api/v1/write", bomb, "snappy"},
		"OTLP":              {"/api/v1/otlp/v1/metrics", big, ""},
		"OTLP zipped":       {"/api/v1/otlp/v1/metrics", big, "gzip"},
		"OTLP bomb":         {"/api/v1/otlp/v1/metrics", zipped.Bytes(), "gzip"},
	} {
		code, _, body := f.do(t, http.MethodPost, c.path, bytes.NewReader(c.body), "Content-Type", "application/x-protobuf", "Content-Encoding", c.encoding)
		want := http.StatusRequestEntityTooLarge
		if name == "OTLP zipped" {
			want = http.StatusBadRequest // it is no gzip to begin with
		}
		if code != want {
			t.Errorf("%s: got %d %.100q, want %d", name, code, body, want)
		}
	}
	if code, _, body := f.do(t, http.MethodPost, "/api/v1/write", strings.NewReader("x"), "Content-Type", "text/plain"); code != http.StatusUnsupportedMediaType {
		t.Errorf("content type: got %d %s", code, body)
	}
	if code, _, body := f.do(t, http.MethodPost, "/api/v1/write", strings.NewReader("\xff\xff\xff"), "Content-Type", "application/x-protobuf"); code != http.StatusBadRequest {
		t.Errorf("no snappy: got %d %s", code, body)
	}
	if code, _, body := f.do(t, http.MethodPost, "/api/v1/write", bytes.NewReader(snappy.Encode(nil, []byte("no protobuf"))), "Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"); code != http.StatusBadRequest {
		t.Errorf("no protobuf: got %d %s", code, body)
	}
}

// FuzzUnpack: what senders pack must never grow beyond the bound, nor be
// blamed on us.
func FuzzUnpack(f *testing.F) {
	encodings := []string{"", "snappy", "gzip", "zstd", "br"}
	for i := range encodings {
		f.Add(byte(i), snappy.Encode(nil, []byte("seed")))
	}
	a := &API{opts: Options{MaxBody: 512}}
	f.Fuzz(func(t *testing.T, encoding byte, body []byte) {
		out, err := a.unpack(bytes.NewReader(body), encodings[int(encoding)%len(encodings)])
		if code, _ := status(err); err != nil && code/100 != 4 {
			t.Errorf("got %d for %v", code, err)
		}
		if len(out) > max(512*maxUnpacked, len(body)) {
			t.Errorf("%d bytes unpacked to %d", len(body), len(out))
		}
	})
}
