package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/sampling"
	"github.com/guanlan-io/guanlan/internal/state"
)

// policyDoors serves the API and Jaeger's paths over policies in a folder.
func policyDoors(t *testing.T) *Server {
	t.Helper()
	p := state.OpenPolicies(t.TempDir(), quiet)
	return start(t, ServerOptions{Doors: Doors{
		API:      New(Options{Engine: &recorder{}, Policies: p, Now: func() time.Time { return noon }, Logger: quiet}),
		Sampling: NewSampling(p),
	}})
}

func with(body string, headers ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
}

func TestPolicyRoutes(t *testing.T) {
	s := policyDoors(t)
	f := func(method, path, body string, status int, want string) {
		t.Helper()
		res, got := call(t, s, method, Prefix+"/sampling/policies"+path, with(body))
		if res.StatusCode != status || !strings.Contains(got, want) {
			t.Errorf("%s %s %.60s: got %d %s\nwant %d with %s", method, path, body, res.StatusCode, got, status, want)
		}
	}
	f("GET", "", "", 200, `{"policies":[]}`)
	f("GET", "/order", "", 404, "no sampling policy of order for every environment")
	f("PUT", "/order", `{"base":0.5}`, 200, `{"service":"order","environment":"","policy":{"base":0.5},"updated":"`+noon.UTC().Format(time.RFC3339)+`"}`)
	f("PUT", "/order?environment=prod", `{"base":0.25}`, 200, `"environment":"prod"`)
	f("PUT", "/a%2Fb%20c", `{}`, 200, `"service":"a/b c"`)
	f("GET", "/a%2Fb%20c", "", 200, `"service":"a/b c"`)
	f("GET", "", "", 200, `"service":"order","environment":"prod"`)
	f("GET", "/order?environment=prod", "", 200, `"base":0.25`)
	f("PUT", "/order", `{"base":0.75}`, 200, `"base":0.75`)
	f("DELETE", "/order?environment=prod", "", 204, "")
	f("DELETE", "/order?environment=prod", "", 404, "for environment prod")
	f("GET", "/order", "", 200, `"base":0.75`)

	f("PUT", "/order", ``, 400, "body is required")
	f("PUT", "/order", `{`, 422, `"location":"body"`)
	f("PUT", "/order", `{"base":7}`, 422, `"message":"want a number from 0.0001 to 1","location":"body.base","value":"7"`)
	f("PUT", "/order", `{"bse":7}`, 422, `"location":"body.bse"`)
	f("PUT", "/order?environment=%00", `{}`, 422, `"location":"query.environment"`)
	f("PUT", "/order?env=prod", `{}`, 422, "env")
	f("PUT", "/order", strings.Repeat(" ", sampling.MaxBody+1), 413, "")
	f("GET", "/order", "", 200, `"base":0.75`) // no wrong one changed it
	f("POST", "", `{}`, 404, "no route POST")

	// Another tenant has its own.
	res, got := call(t, s, "GET", Prefix+"/sampling/policies", with("", TenantHeader, "3"))
	if res.StatusCode != 200 || strings.TrimSpace(got) != `{"policies":[]}` {
		t.Errorf("tenant 3: got %d %s", res.StatusCode, got)
	}
	none := start(t, ServerOptions{Doors: Doors{API: (&recorder{}).handler()}})
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if res, _ := call(t, none, method, Prefix+"/sampling/policies/order", with("{}")); res.StatusCode != 404 {
			t.Errorf("%s without policies: got %d", method, res.StatusCode)
		}
	}
}

// A page of another site cannot change policies through a browser: neither as
// browsers say where a request comes from, nor by what a form can send.
func TestPoliciesRefuseForeignPages(t *testing.T) {
	s := policyDoors(t)
	const path = Prefix + "/sampling/policies/order"
	for _, foreign := range [][]string{
		{"Origin", "http://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "null"},
	} {
		for _, method := range []string{"PUT", "DELETE"} {
			if res, _ := call(t, s, method, path, with(`{"base":1}`, foreign...)); res.StatusCode != 403 {
				t.Errorf("%s with %v: got %d", method, foreign, res.StatusCode)
			}
		}
	}
	for _, form := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/octet-stream", "x"} {
		if res, body := call(t, s, "PUT", path, with(`{"base":1}`, "Content-Type", form)); res.StatusCode != 415 {
			t.Errorf("type %q: got %d %s", form, res.StatusCode, body)
		}
	}
	// And no preflight is answered, without which no other request is sent.
	res, _ := call(t, s, "OPTIONS", path, with("", "Origin", "http://evil.example", "Access-Control-Request-Method", "PUT"))
	if res.Header.Get("Access-Control-Allow-Origin") != "" || res.Header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("a preflight is answered: %v", res.Header)
	}
	if _, got := call(t, s, "GET", Prefix+"/sampling/policies", nil); strings.TrimSpace(got) != `{"policies":[]}` {
		t.Errorf("there is %s", got)
	}
	if res, _ := call(t, s, "PUT", path, with(`{"base":1}`, "Sec-Fetch-Site", "same-origin", "Content-Type", "application/json; charset=utf-8")); res.StatusCode != 200 {
		t.Errorf("from our own page: got %d", res.StatusCode)
	}
}

func TestSamplingOfJaeger(t *testing.T) {
	s := policyDoors(t)
	example, err := os.ReadFile("testdata/sampling.json")
	if err != nil {
		t.Fatal(err)
	}
	var parts struct {
		Guanlan json.RawMessage `json:"guanlan"`
	}
	if err := json.Unmarshal(example, &parts); err != nil {
		t.Fatal(err)
	}
	for where, body := range map[string]string{"order": string(parts.Guanlan), "order?environment=prod": `{"base":0.75}`, "default": `{"base":0.125}`} {
		if res, got := call(t, s, "PUT", Prefix+"/sampling/policies/"+where, with(body)); res.StatusCode != 200 {
			t.Fatalf("%s: %d %s", where, res.StatusCode, got)
		}
	}
	f := func(path, want string) {
		t.Helper()
		for _, door := range []string{"/sampling", "/api/sampling"} {
			res, got := call(t, s, "GET", door+path, nil)
			if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" || res.Header.Get("ETag") == "" {
				t.Fatalf("%s: got %d %v", path, res.StatusCode, res.Header)
			}
			if diff := cmp.Diff(compact(t, want), compact(t, got)); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
		}
	}
	// The example that the SDK reads, too.
	f("?service=order&policy=full", string(example))
	// OpenTelemetry's client takes no member that it does not know.
	var plain map[string]json.RawMessage
	if err := json.Unmarshal(example, &plain); err != nil {
		t.Fatal(err)
	}
	delete(plain, "guanlan")
	text, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	f("?service=order", string(text))
	share := func(v float64) string {
		return fmt.Sprintf(`{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":%v}}`, v)
	}
	f("?service=order&deployment.environment.name=prod", share(0.75))
	f("?service=other&deployment.environment.name=prod", share(0.125))
	res, got := call(t, s, "GET", "/sampling?service=order", with("", TenantHeader, "3"))
	if res.StatusCode != 200 || !strings.Contains(got, `"samplingRate":0.01`) {
		t.Errorf("a tenant without policies: got %d %s", res.StatusCode, got)
	}

	for _, path := range []string{"", "?service=", "?service=a&service=b"} {
		if res, got := call(t, s, "GET", "/sampling"+path, nil); res.StatusCode != 400 || !strings.Contains(got, "want the parameter service") {
			t.Errorf("%s: got %d %s", path, res.StatusCode, got)
		}
	}
	if res, _ := call(t, s, "POST", "/sampling?service=a", nil); res.StatusCode != 405 {
		t.Errorf("POST: got %d", res.StatusCode)
	}
	tag := ""
	ask := func() int {
		res, got := call(t, s, "GET", "/sampling?service=order&policy=full", func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
		if res.StatusCode == 304 && got != "" {
			t.Errorf("an answer that did not change has a body: %s", got)
		}
		tag = res.Header.Get("ETag")
		return res.StatusCode
	}
	if first, second := ask(), ask(); first != 200 || second != 304 {
		t.Errorf("asked twice: %d, %d", first, second)
	}
	call(t, s, "PUT", Prefix+"/sampling/policies/order", with(`{}`))
	if got := ask(); got != 200 {
		t.Errorf("after a change: %d", got)
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	var v any
	err := json.Unmarshal([]byte(text), &v)
	if err = errors.Join(err, json.NewEncoder(&b).Encode(v)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A change that cannot be saved is told to whoever made it.
func TestPoliciesThatCannotBeSaved(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/sampling.json.tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, ServerOptions{Doors: Doors{API: New(Options{Engine: &recorder{}, Policies: state.OpenPolicies(dir, quiet), Logger: quiet})}})
	res, got := call(t, s, "PUT", Prefix+"/sampling/policies/order", with(`{"base":1}`))
	if res.StatusCode != 503 || !strings.Contains(got, "what held before holds on") {
		t.Errorf("got %d %s", res.StatusCode, got)
	}
}
