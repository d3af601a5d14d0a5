package prom

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/api"
	client "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
	v1 "github.com/prometheus/prometheus/web/api/v1"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/metric"
)

// fixture is a store behind a server.
type fixture struct {
	store *metric.Store
	url   string
	dir   string
}

func serve(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	return serveStore(t, metric.Options{Dir: t.TempDir()}, change...)
}

func serveStore(t testing.TB, so metric.Options, change ...func(*Options)) *fixture {
	t.Helper()
	s, err := metric.Open(so)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	opts := Options{Store: s}
	for _, c := range change {
		c(&opts)
	}
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a.Handler("/prom"))
	t.Cleanup(srv.Close)
	return &fixture{s, srv.URL + "/prom", so.Dir}
}

// put appends a sample, with an exemplar when trace is not empty.
func (f *fixture) put(t testing.TB, tenant store.Tenant, at time.Time, v float64, ls ...string) {
	t.Helper()
	a := f.store.Database(tenant).Appender(context.Background())
	if _, err := a.Append(0, labels.FromStrings(ls...), at.UnixMilli(), v); err != nil {
		t.Fatal(err)
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) client(t testing.TB) client.API {
	t.Helper()
	c, err := api.NewClient(api.Config{Address: f.url})
	if err != nil {
		t.Fatal(err)
	}
	return client.NewAPI(c)
}

// get requests a path and returns status, headers and body.
func (f *fixture) get(t testing.TB, path string, header ...string) (int, http.Header, string) {
	t.Helper()
	return f.do(t, http.MethodGet, path, nil, header...)
}

func (f *fixture) do(t testing.TB, method, path string, body io.Reader, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, f.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(out)
}

func TestNewRefusesBadOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no store: no error")
	}
	if _, err := New(Options{Store: &metric.Store{}, CORSOrigin: "("}); err == nil {
		t.Error("bad CORS origin: no error")
	}
}

// TestClient asks with Prometheus' own client everything it can ask.
func TestClient(t *testing.T) {
	f := serve(t, func(o *Options) {
		o.Admin = true
		o.Flags = map[string]string{"storage.path": "x"}
	})
	now := time.Now().Truncate(time.Second)
	for i := range 10 {
		at := now.Add(time.Duration(i-9) * time.Minute)
		f.put(t, store.Tenant{}, at, float64(i), "__name__", "up", "job", "a")
		f.put(t, store.Tenant{}, at, float64(2*i), "__name__", "up", "job", "b")
	}
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("requests")
	m.SetDescription("Requests served.")
	sum := m.SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	p := sum.DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(now))
	p.SetIntValue(4)
	e := p.Exemplars().AppendEmpty()
	e.SetTimestamp(pcommon.NewTimestampFromTime(now))
	e.SetDoubleValue(1)
	e.SetTraceID(pcommon.TraceID{0xab})
	if err := f.store.Write(context.Background(), store.Tenant{}, md); err != nil {
		t.Fatal(err)
	}

	ctx := context.Background()
	c := f.client(t)
	check := func(what string, want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", what, d)
		}
	}

	v, _, err := c.Query(ctx, "sum by (job) (up)", now)
	check("query", model.Vector{
		{Metric: model.Metric{"job": "a"}, Value: 9, Timestamp: model.TimeFromUnix(now.Unix())},
		{Metric: model.Metric{"job": "b"}, Value: 18, Timestamp: model.TimeFromUnix(now.Unix())},
	}, v, err)
	v, _, err = c.QueryRange(ctx, `up{job="a"}`, client.Range{Start: now.Add(-time.Minute), End: now, Step: time.Minute})
	check("query_range", model.Matrix{{Metric: model.Metric{"__name__": "up", "job": "a"}, Values: []model.SamplePair{
		{Timestamp: model.TimeFromUnix(now.Unix() - 60), Value: 8}, {Timestamp: model.TimeFromUnix(now.Unix()), Value: 9}}}}, v, err)
	ex, err := c.QueryExemplars(ctx, "requests_total", now.Add(-time.Minute), now.Add(time.Minute))
	check("query_exemplars", []client.ExemplarQueryResult{{
		SeriesLabels: model.LabelSet{"__name__": "requests_total"},
		Exemplars:    []client.Exemplar{{Labels: model.LabelSet{"trace_id": "ab000000000000000000000000000000"}, Value: 1, Timestamp: model.TimeFromUnix(now.Unix())}},
	}}, ex, err)
	formatted, err := c.FormatQuery(ctx, "sum(up)by(job)")
	check("format_query", `"sum by (job) (up)"`, formatted, err)
	names, _, err := c.LabelNames(ctx, nil, now.Add(-time.Hour), now)
	check("labels", model.LabelNames{"__name__", "job"}, names, err)
	values, _, err := c.LabelValues(ctx, "job", []string{"up"}, now.Add(-time.Hour), now)
	check("label values", model.LabelValues{"a", "b"}, values, err)
	series, _, err := c.Series(ctx, []string{`up{job="b"}`}, now.Add(-time.Hour), now)
	check("series", []model.LabelSet{{"__name__": "up", "job": "b"}}, series, err)
	meta, err := c.Metadata(ctx, "", "")
	check("metadata", map[string][]client.Metadata{"requests_total": {{Type: client.MetricTypeCounter, Help: "Requests served."}}}, meta, err)
	meta, err = c.Metadata(ctx, "none", "10")
	check("metadata of one", map[string][]client.Metadata{}, meta, err)
	rs, err := c.Rules(ctx, nil)
	check("rules", client.RulesResult{Groups: []client.RuleGroup{}}, rs, err)
	al, err := c.Alerts(ctx)
	check("alerts", client.AlertsResult{Alerts: []client.Alert{}}, al, err)
	am, err := c.AlertManagers(ctx)
	check("alertmanagers", client.AlertManagersResult{Active: []client.AlertManager{}, Dropped: []client.AlertManager{}}, am, err)
	tg, err := c.Targets(ctx)
	check("targets", client.TargetsResult{Active: []client.ActiveTarget{}, Dropped: []client.DroppedTarget{}}, tg, err)
	tm, err := c.TargetsMetadata(ctx, "", "", "")
	check("targets/metadata", []client.MetricMetadata{}, tm, err)
	flags, err := c.Flags(ctx)
	check("status/flags", client.FlagsResult{"storage.path": "x"}, flags, err)
	cfg, err := c.Config(ctx)
	check("status/config", true, strings.Contains(cfg.YAML, "promote_resource_attributes"), err)
	bi, err := c.Buildinfo(ctx)
	check("status/buildinfo", buildInfo().Version, bi.Version, err)
	ri, err := c.Runtimeinfo(ctx)
	check("status/runtimeinfo", "15d", ri.StorageRetention, err)
	ts, err := c.TSDB(ctx)
	ts.HeadStats.ChunkCount = min(ts.HeadStats.ChunkCount, 3) // more when a block's end lies between
	check("status/tsdb", client.TSDBHeadStats{NumSeries: 3, NumLabelPairs: 4, ChunkCount: 3,
		MinTime: int(now.Add(-9 * time.Minute).UnixMilli()), MaxTime: int(now.UnixMilli())}, ts.HeadStats, err)
	check("status/tsdb by name", []client.Stat{{Name: "up", Value: 2}, {Name: "requests_total", Value: 1}}, ts.SeriesCountByMetricName, err)
	bl, err := c.TSDBBlocks(ctx)
	check("status/tsdb/blocks", 0, len(bl.Data.Blocks), err)
	wal, err := c.WalReplay(ctx)
	check("status/walreplay", 0, wal.Max, err)

	if err := c.DeleteSeries(ctx, []string{`up{job="b"}`}, now.Add(-time.Hour), now); err != nil {
		t.Errorf("delete_series: %v", err)
	}
	if err := c.CleanTombstones(ctx); err != nil {
		t.Errorf("clean_tombstones: %v", err)
	}
	v, _, err = c.Query(ctx, "count(up)", now)
	check("after delete_series", model.Vector{{Metric: model.Metric{}, Value: 1, Timestamp: model.TimeFromUnix(now.Unix())}}, v, err)
	snap, err := c.Snapshot(ctx, false)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	if blocks, _ := filepath.Glob(filepath.Join(f.dir, "0", "snapshots", snap.Name, "01*")); len(blocks) == 0 {
		t.Error("the snapshot holds no block")
	}
}

// TestPlainEndpoints asks what the client has no method for.
func TestPlainEndpoints(t *testing.T) {
	f := serve(t)
	f.put(t, store.Tenant{}, time.Now(), 1, "__name__", "up")
	for path, want := range map[string]string{
		"/api/v1/parse_query?query=up":                                  `"type":"vectorSelector"`,
		"/api/v1/status/self_metrics?metric_name_pattern=.*head_series": "prometheus_tsdb_head_series",
		"/api/v1/features":                                              `"otlp_write_receiver":true`,
		"/api/v1/notifications":                                         `"data":[]`,
		"/api/v1/scrape_pools":                                          `"scrapePools":[]`,
		"/api/v1/openapi.yaml":                                          "/query_range",
		"/api/v1/query?query=up&stats=all":                              "totalQueryableSamples",
		"/api/v1/metadata?limit=0":                                      `"data":{}`,
	} {
		if code, _, body := f.get(t, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %.200s, want %s", path, code, body, want)
		}
	}
	if code, _, _ := f.get(t, "/api/v1/notifications/live"); code != http.StatusNoContent {
		t.Errorf("notifications/live: got %d", code)
	}
	for path, want := range map[string]int{
		"/api/v1/query?query=sum(":                               400,
		"/api/v1/query_range?query=up&start=1&end=0&step=1":      400,
		"/api/v1/query_range?query=up&start=0&end=100000&step=1": 400,
		"/api/v1/scrape_pools/config?scrapePool=x":               400,
		"/api/v1/metadata?limit=many":                            400,
		"/api/v1/metadata?limit_per_metric=x":                    400,
		"/api/v1/nothing":                                        404,
		"/api/v1/search/metric_names":                            500,
		"/elsewhere":                                             404,
	} {
		if code, _, body := f.get(t, path); code != want {
			t.Errorf("%s: got %d %.200s, want %d", path, code, body, want)
		}
	}
	if code, _, body := f.do(t, http.MethodPost, "/api/v1/admin/tsdb/delete_series?match[]=up", nil); code != 500 || !strings.Contains(body, "admin APIs disabled") {
		t.Errorf("admin without leave: got %d %s", code, body)
	}
	// Forms work as well as parameters.
	form := url.Values{"query": {"up + 1"}}
	if code, _, body := f.do(t, http.MethodPost, "/api/v1/query", strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded"); code != 200 || !strings.Contains(body, `"2"`) {
		t.Errorf("query as a form: got %d %s", code, body)
	}
}

func TestTenants(t *testing.T) {
	f := serve(t)
	now := time.Now()
	f.put(t, store.Tenant{}, now, 1, "__name__", "m")
	f.put(t, store.Tenant{Account: 7, Project: 2}, now, 2, "__name__", "m")
	query := "/api/v1/query?query=m"
	for header, want := range map[string]string{"": `"1"`, "0": `"1"`, "7:2": `"2"`, "7": `"result":[]`, "99": `"result":[]`} {
		if code, _, body := f.get(t, query, "X-Scope-OrgID", header); code != 200 || !strings.Contains(body, want) {
			t.Errorf("tenant %q: got %d %s, want %s", header, code, body, want)
		}
	}
	if code, _, body := f.get(t, query, "X-Scope-OrgID", "acme"); code != 400 || !strings.Contains(body, `"errorType":"bad_data"`) {
		t.Errorf("bad tenant: got %d %s", code, body)
	}
	if got, _ := os.ReadDir(filepath.Join(f.dir, "99")); got != nil {
		t.Error("a read made a tenant")
	}
	// A tenant that comes to exist is served its own.
	f.put(t, store.Tenant{Account: 99}, now, 3, "__name__", "m")
	if _, _, body := f.get(t, query, "X-Scope-OrgID", "99"); !strings.Contains(body, `"3"`) {
		t.Errorf("new tenant: got %s", body)
	}
}

func TestCORS(t *testing.T) {
	all, some := serve(t), serve(t, func(o *Options) { o.CORSOrigin = `https://graf\.example` })
	for _, c := range []struct {
		f      *fixture
		origin string
		want   string
	}{
		{all, "https://anyone.example", "*"},
		{some, "https://graf.example", "https://graf.example"},
		{some, "https://graf.example.evil", ""},
	} {
		for _, path := range []string{"/api/v1/query?query=1", "/api/v1/metadata"} {
			_, h, _ := c.f.get(t, path, "Origin", c.origin)
			if got := h.Get("Access-Control-Allow-Origin"); got != c.want {
				t.Errorf("%s from %s: got %q, want %q", path, c.origin, got, c.want)
			}
		}
		code, h, _ := c.f.do(t, http.MethodOptions, "/api/v1/query", nil, "Origin", c.origin)
		if got := h.Get("Access-Control-Allow-Origin"); got != c.want || code != http.StatusNoContent {
			t.Errorf("preflight from %s: got %d %q, want %q", c.origin, code, got, c.want)
		}
	}
}

// TestBuildInfo: Grafana chooses what to ask by the version.
func TestBuildInfo(t *testing.T) {
	mod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(mod), "github.com/prometheus/prometheus v0.")
	var minor, patch int
	if _, err := fmt.Sscanf(rest, "%d.%d", &minor, &patch); err != nil {
		t.Fatalf("version of the engine in go.mod: %v", err)
	}
	if got, want := buildInfo().Version, fmt.Sprintf("%d.%d.%d", minor/100, minor%100, patch); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestRules hands in real ones: a rule manager that queries the store.
func TestRules(t *testing.T) {
	s, err := metric.Open(metric.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	db := s.Database(store.Tenant{})

	f := &fixture{store: s}
	f.put(t, store.Tenant{}, time.Now(), 5, "__name__", "jobs_total")

	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte("groups:\n- name: g\n  interval: 100ms\n  rules:\n  - record: jobs:double\n    expr: jobs_total * 2\n  - alert: Jobs\n    expr: jobs_total > 1\n    labels: {severity: info}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	manager := rules.NewManager(&rules.ManagerOptions{
		Context: ctx, Appendable: db, Queryable: db, QueryFunc: rules.EngineQueryFunc(s.Engine(), db), Parser: s.Parser(),
		NameValidationScheme: model.UTF8Validation, Registerer: prometheus.NewRegistry(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
	})
	if err := manager.Update(100*time.Millisecond, []string{file}, labels.EmptyLabels(), "", nil); err != nil {
		t.Fatal(err)
	}
	go manager.Run()
	t.Cleanup(manager.Stop)

	a, err := New(Options{
		Store: s,
		Rules: func(store.Tenant) v1.RulesRetriever { return manager },
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a.Handler(""))
	t.Cleanup(srv.Close)
	c := (&fixture{url: srv.URL}).client(t)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		v, _, err := c.Query(ctx, "jobs:double", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		al, err := c.Alerts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(v.(model.Vector)) == 1 && v.(model.Vector)[0].Value == 10 && len(al.Alerts) == 1 {
			if got := al.Alerts[0].Labels["alertname"]; got != "Jobs" {
				t.Errorf("alert: got %s", got)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no rule result: %v, %v", v, al)
		}
	}
	rs, err := c.Rules(ctx, nil)
	if err != nil || len(rs.Groups) != 1 || len(rs.Groups[0].Rules) != 2 {
		t.Errorf("rules: got %+v, %v", rs, err)
	}
}

// TestNativeHistograms asks for one as Grafana does.
func TestNativeHistograms(t *testing.T) {
	f := serve(t)
	now := time.Now()
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("h")
	h := m.SetEmptyExponentialHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	p := h.DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(now))
	p.SetCount(3)
	p.SetSum(4)
	p.Positive().BucketCounts().FromRaw([]uint64{1, 2})
	if err := f.store.Write(context.Background(), store.Tenant{}, md); err != nil {
		t.Fatal(err)
	}
	_, _, body := f.get(t, "/api/v1/query?query=h")
	var got struct {
		Data struct {
			Result []struct {
				Histogram []any `json:"histogram"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Data.Result) != 1 {
		t.Fatal(body, err)
	}
	want := map[string]any{"count": "3", "sum": "4", "buckets": []any{[]any{0.0, "1", "2", "1"}, []any{0.0, "2", "4", "2"}}}
	if d := cmp.Diff(want, got.Data.Result[0].Histogram[1]); d != "" {
		t.Error(d)
	}
}
