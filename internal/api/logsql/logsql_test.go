package logsql

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/google/go-cmp/cmp"

	engine "github.com/guanlan-io/guanlan/internal/store/logsql"
)

// base is a full hour not long ago, since the storage keeps no old rows.
var base = time.Now().Add(-6 * time.Hour).Truncate(time.Hour).UTC()

type fixture struct {
	*httptest.Server
	storage *logstorage.Storage
	t       *testing.T
}

// serve answers over rows of two tenants.
func serve(t *testing.T) fixture {
	s := logstorage.MustOpenStorage(t.TempDir(), &logstorage.StorageConfig{Retention: 30 * 24 * time.Hour, FutureRetention: 24 * time.Hour, FlushInterval: time.Second})
	f := fixture{storage: s, t: t}
	for i := range 60 {
		f.add(0, base.Add(time.Duration(i)*time.Minute), []string{"gate", "order"}[i%2], fmt.Sprint("message ", i), "level", []string{"info", "warn", "error"}[i%3], "n", fmt.Sprint(i))
	}
	f.add(7, base, "other", `quote " and \ and 中文 and <b>`)
	s.DebugFlush()
	f.Server = httptest.NewServer(New(Options{Reader: engine.New(s, nil, "_g_*"), Version: "v9", Now: func() time.Time { return base.Add(2 * time.Hour) }}))
	t.Cleanup(func() { f.Server.Close(); s.MustClose() })
	return f
}

func (f fixture) add(tenant uint32, at time.Time, service, msg string, more ...string) {
	row := []logstorage.Field{{Name: "service.name", Value: service}, {Name: "_msg", Value: msg}, {Name: "_g_private", Value: "x"}}
	for i := 0; i < len(more); i += 2 {
		row = append(row, logstorage.Field{Name: more[i], Value: more[i+1]})
	}
	lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
	lr.MustAdd(logstorage.TenantID{AccountID: tenant}, at.UnixNano(), row, 1)
	f.storage.MustAddRows(lr)
	logstorage.PutLogRows(lr)
}

// ask sends parameters, name and value in turn.
func (f fixture) ask(path string, params ...string) (*http.Response, string) {
	f.t.Helper()
	v := url.Values{}
	for i := 0; i < len(params); i += 2 {
		v.Add(params[i], params[i+1])
	}
	res, err := http.Get(f.URL + path + "?" + v.Encode())
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return res, string(body)
}

func (f fixture) wantJSON(path, want string, params ...string) {
	f.t.Helper()
	res, got := f.ask("/select/logsql/"+path, params...)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		f.t.Errorf("%s: got %d, %s", path, res.StatusCode, res.Header.Get("Content-Type"))
	}
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		f.t.Fatalf("%s: %v in %s", path, err, got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		f.t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" {
		f.t.Errorf("%s %v (-want +got):\n%s", path, params, diff)
	}
}

func at(minutes int) string {
	return base.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339)
}

func TestQuery(t *testing.T) {
	f := serve(t)
	res, body := f.ask("/select/logsql/query", "query", "level:error | fields _time, _msg, n", "limit", "2", "offset", "1", "start", at(0), "end", at(30))
	want := fmt.Sprintf(`{"_time":%q,"_msg":"message 26","n":"26"}`+"\n"+`{"_time":%q,"_msg":"message 23","n":"23"}`+"\n", at(26), at(23))
	if body != want {
		t.Errorf("got %s\nwant %s", body, want)
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/stream+json" || res.Header.Get("AccountID") != "0" || res.Header.Get("VL-Request-Duration-Seconds") == "" {
		t.Errorf("headers: %v", res.Header)
	}
	// Without a limit all rows come, private columns never.
	_, body = f.ask("/select/logsql/query", "query", "*")
	if n := strings.Count(body, "\n"); n != 60 || strings.Contains(body, "_g_") || !strings.Contains(body, `"_stream":"{service.name=\"gate\"}"`) {
		t.Errorf("got %d rows: %.300s", n, body)
	}
	// Nothing found is an empty answer.
	if res, body := f.ask("/select/logsql/query", "query", "nothing"); res.StatusCode != 200 || body != "" || res.Header.Get("Content-Type") != "application/stream+json" {
		t.Errorf("nothing: got %d %q", res.StatusCode, body)
	}
	// Relative times refer to now, to end, or to time.
	for want, params := range map[int][]string{0: nil, 10: {"end", at(60)}, 5: {"time", at(30), "end", at(25)}} {
		_, body := f.ask("/select/logsql/query", append([]string{"query", "_time:10m"}, params...)...)
		if n := strings.Count(body, "\n"); n != want {
			t.Errorf("%v: got %d rows, want %d", params, n, want)
		}
	}
}

func TestQueryByForm(t *testing.T) {
	f := serve(t)
	form := url.Values{"query": {"*"}, "extra_filters": {`{"level":"error"}`}, "extra_stream_filters": {`{"service.name":"gate"}`}, "hidden_fields_filters": {`["n","_stream*"]`}}
	res, err := http.PostForm(f.URL+"/select/logsql/query", form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if n := strings.Count(string(body), "\n"); n != 10 || strings.Contains(string(body), `"n"`) || strings.Contains(string(body), "_stream") {
		t.Errorf("got %d rows: %.300s", n, body)
	}
	_, text := f.ask("/select/logsql/query", "query", "*", "hidden_fields_filters", "n,level", "limit", "1")
	if strings.Contains(text, `"n"`) || strings.Contains(text, `"level"`) {
		t.Errorf("got %s", text)
	}
}

func TestTenants(t *testing.T) {
	f := serve(t)
	get := func(header ...string) string {
		req, _ := http.NewRequest("GET", f.URL+"/select/logsql/query?query=*+|+fields+_msg", nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	if got, want := get("AccountID", "7"), `{"_msg":"quote \" and \\ and 中文 and <b>"}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := get("AccountID", "7", "ProjectID", "1"); got != "" {
		t.Errorf("another project: got %s", got)
	}
	if got := get("ProjectID", "x"); !strings.Contains(got, "AccountID and ProjectID") {
		t.Errorf("bad header: got %s", got)
	}
}

func TestTenantHeadersTogether(t *testing.T) {
	f := serve(t)
	ask := func(path string, header ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequest("GET", f.URL+"/select/logsql/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	count := "query?query=*+|+stats+count()+n"
	for _, header := range [][]string{
		{"X-Scope-OrgID", "7"},
		{"X-Scope-OrgID", "7:0"},
		{"X-Scope-OrgID", "7", "AccountID", "7"},
		{"X-Scope-OrgID", "7", "AccountID", "7", "ProjectID", "0"},
		{"AccountID", "7"},
	} {
		if code, body := ask(count, header...); code != 200 || body != `{"n":"1"}`+"\n" {
			t.Errorf("%v: got %d %s, want the one row of tenant 7", header, code, body)
		}
	}
	// A default that is spelt out contradicts, too.
	for _, header := range [][]string{
		{"X-Scope-OrgID", "7", "AccountID", "8"},
		{"X-Scope-OrgID", "7", "AccountID", "0"},
		{"X-Scope-OrgID", "0", "AccountID", "7"},
		{"X-Scope-OrgID", "7", "AccountID", "7", "ProjectID", "1"},
		{"X-Scope-OrgID", "7", "ProjectID", "7"},
	} {
		for _, path := range []string{count, "stats_query?query=*+|+stats+count()+n", "tail?query=*"} {
			code, body := ask(path, header...)
			if code != http.StatusBadRequest || !strings.Contains(body, "X-Scope-OrgID") || !strings.Contains(body, "AccountID and ProjectID") {
				t.Errorf("%s %v: got %d %s, want 400 that names the headers", path, header, code, body)
			}
		}
	}
	if code, body := ask(count, "X-Scope-OrgID", "seven"); code != http.StatusBadRequest || !strings.Contains(body, "X-Scope-OrgID") {
		t.Errorf("no tenant: got %d %s", code, body)
	}
}

func TestHits(t *testing.T) {
	f := serve(t)
	f.wantJSON("hits", fmt.Sprintf(`{"hits":[
		{"fields":{"level":"error"},"timestamps":[%[1]q,%[2]q],"values":[10,10],"total":20},
		{"fields":{"level":"info"},"timestamps":[%[1]q,%[2]q],"values":[10,10],"total":20},
		{"fields":{"level":"warn"},"timestamps":[%[1]q,%[2]q],"values":[10,10],"total":20}]}`, at(0), at(30)),
		"query", "*", "start", at(0), "end", at(60), "step", "30m", "field", "level")
	f.wantJSON("hits", fmt.Sprintf(`{"hits":[{"fields":{},"timestamps":[%q,%q,%q],"values":[10,30,20],"total":60}]}`, at(-20), at(10), at(40)),
		"query", "*", "step", "30m", "offset", "10m")
	f.wantJSON("hits", fmt.Sprintf(`{"hits":[{"fields":{},"timestamps":[%[1]q],"values":[30],"total":30},{"fields":{"service.name":"gate"},"timestamps":[%[1]q],"values":[30],"total":30}]}`, at(0)),
		"query", "*", "start", at(0), "end", at(60), "step", "1h", "field", "service.name", "fields_limit", "1")
	f.wantJSON("hits", `{"hits":[]}`, "query", "nothing")
}

func TestStats(t *testing.T) {
	f := serve(t)
	seconds := func(minutes int) int64 { return base.Add(time.Duration(minutes) * time.Minute).Unix() }
	f.wantJSON("stats_query", fmt.Sprintf(`{"status":"success","data":{"resultType":"vector","result":[
		{"metric":{"__name__":"rows","level":"error"},"value":[%[1]d,"20"]},{"metric":{"__name__":"rows","level":"info"},"value":[%[1]d,"20"]},
		{"metric":{"__name__":"rows","level":"warn"},"value":[%[1]d,"20"]}]}}`, seconds(120)), "query", "* | stats by (level) count() rows")
	f.wantJSON("stats_query_range", fmt.Sprintf(`{"status":"success","data":{"resultType":"matrix","result":[
		{"metric":{"__name__":"rows"},"values":[[%d,"10"],[%d,"10"]]}]}}`, seconds(0), seconds(30)),
		"query", "level:error | stats count() rows", "start", at(0), "end", at(60), "step", "30m")
	f.wantJSON("stats_query", `{"status":"success","data":{"resultType":"vector","result":[]}}`, "query", "nothing | stats by (level) count() rows")
}

func TestValues(t *testing.T) {
	f := serve(t)
	f.wantJSON("field_values", `{"values":[{"value":"error","hits":10},{"value":"info","hits":10},{"value":"warn","hits":10}]}`, "query", "*", "field", "level", "start", at(30))
	f.wantJSON("stream_field_names", `{"values":[{"value":"service.name","hits":60}]}`, "query", "*")
	f.wantJSON("stream_field_values", `{"values":[{"value":"gate","hits":20}]}`, "query", "(level:error or level:warn) {service.name=gate}", "field", "service.name", "limit", "5")
	f.wantJSON("streams", `{"values":[{"value":"{service.name=\"gate\"}","hits":30},{"value":"{service.name=\"order\"}","hits":30}]}`, "query", "*")
	f.wantJSON("field_names", `{"values":[]}`, "query", "nothing")
	_, body := f.ask("/select/logsql/stream_ids", "query", "*")
	if strings.Count(body, `"hits":30`) != 2 {
		t.Errorf("stream_ids: got %s", body)
	}
	_, body = f.ask("/select/logsql/field_names", "query", "*")
	if strings.Contains(body, "_g_") || !strings.Contains(body, `{"value":"level","hits":60}`) {
		t.Errorf("field_names: got %s", body)
	}
}

func TestErrors(t *testing.T) {
	f := serve(t)
	for _, path := range []string{
		"query", "query?query=(", "query?query=*&limit=-1", "query?query=*&offset=x", "query?query=*&start=soon", "query?query=*&end=x", "query?query=*&time=x",
		"query?query=*&timeout=x", `query?query=*&extra_filters={"a":1}`, "query?query=*&hidden_fields_filters=[1]", "hits?query=*&step=0", "hits?query=*&step=x",
		"hits?query=*&offset=x", "hits?query=*&fields_limit=x", "hits?query=*&step=1ms&start=" + at(0) + "&end=" + at(60), "field_values?query=*",
		"streams?query=*&limit=x", "tail?query=*+|+stats+count()", "tail?query=*&offset=x", "tail?query=*&refresh_interval=x", "tail?query=*&start_offset=x",
	} {
		path, params, _ := strings.Cut(path, "?")
		v, err := url.ParseQuery(params)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.Get(f.URL + "/select/logsql/" + path + "?" + v.Encode())
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 400 || len(body) == 0 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s?%s: got %d %s", path, params, res.StatusCode, body)
		}
	}
	for _, path := range []string{"stats_query?query=*", "stats_query_range?query=*+|+stats+count()&step=0", "stats_query?query=("} {
		res, err := http.Get(f.URL + "/select/logsql/" + path)
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ Status, ErrorType, Error string }
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil || res.StatusCode != 422 || e.Status != "error" || e.ErrorType != "422" || e.Error == "" {
			t.Errorf("%s: got %d %+v, %v", path, res.StatusCode, e, err)
		}
		res.Body.Close()
	}
	if res, body := f.ask("/select/logsql/query", "query", "*", "timeout", "0.000000001s"); res.StatusCode != 503 {
		t.Errorf("timeout: got %d %s", res.StatusCode, body)
	}
	if res, body := f.ask("/select/buildinfo"); res.StatusCode != 200 || strings.TrimSpace(body) != `{"data":{"version":"v9"},"status":"success"}` {
		t.Errorf("buildinfo: got %d %s", res.StatusCode, body)
	}
}

func TestTail(t *testing.T) {
	f := serve(t)
	res, err := http.Get(f.URL + "/select/logsql/tail?offset=0s&refresh_interval=100ms&query=" + url.QueryEscape("service.name:live | fields _time, _msg"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if ct := res.Header.Get("Content-Type"); ct != "application/x-ndjson" {
		t.Errorf("content type %q", ct)
	}
	lines := bufio.NewScanner(res.Body)
	var got []string
	for i := range 3 {
		f.add(0, time.Now(), "live", fmt.Sprint("live ", i))
		f.add(0, time.Now(), "other", "not asked for")
		f.storage.DebugFlush()
		if !lines.Scan() {
			t.Fatalf("ended after %v: %v", got, lines.Err())
		}
		var row map[string]string
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		got = append(got, row["_msg"])
	}
	if want := []string{"live 0", "live 1", "live 2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
