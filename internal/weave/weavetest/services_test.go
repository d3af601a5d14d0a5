//go:build unix

package weavetest

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/testkit/otlpsink"
)

var (
	built = flag.String("built", "", "folder with woven programs of services; default: build them")
	all   = flag.Bool("all", false, "show all that services have sent, not what their requests were alone")
	more  = flag.Bool("more", false, "run the tests of all services, which takes an hour")
)

// services is the module whose go.mod says which services are taken, in which
// versions: they are its tools.
const services = "services"

// TestServices builds services of others as they are published, calls them, and
// compares what they send about these calls with services/NAME.txt.
func TestServices(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads and builds several services")
	}
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	t.Setenv("CGO_ENABLED", "0")
	programs := t.TempDir()
	if *built != "" {
		programs = *built
	}
	for _, c := range []struct {
		name, program, at string
		calls             func(t *testing.T, sink *otlpsink.Sink, programs string)
		byClock           func(ptrace.Span) bool
	}{
		{"httpbin", "go-httpbin", "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.26.0", callHTTPBin, nil},
		{"caddy", "caddy", "github.com/caddyserver/caddy/v2/cmd/caddy", callCaddy, nil}, // with httpbin behind it
		{"pocketbase", "base", "github.com/pocketbase/pocketbase/examples/base", callPocketBase, writesLogs},
		{"openfga", "openfga", "github.com/openfga/openfga/cmd/openfga", callOpenFGA, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if *built == "" {
				if err := WovenPackage(services, filepath.Join(programs, c.program), c.at); err != nil {
					t.Fatal(err)
				}
			}
			sink := otlpsink.New(t)
			c.calls(t, sink, programs)
			got := sink.Quiet(0)
			if wrong := Incomplete(got, c.byClock); wrong != "" {
				t.Errorf("%s\n%s", wrong, got.Render())
			}
			if *all {
				t.Log(got.Render())
			}
			compare(t, filepath.Join(services, c.name+".txt"), brief(Requests(got).Render()))
		})
	}
}

// ownTests are those of services that take a minute or so to build and run. They
// need nothing but their module.
var ownTests = map[string][]string{
	"httpbin": {"github.com/mccutchen/go-httpbin/v2/..."},
}

// moreOwnTests are those that take longer; go test -run Own -more runs them.
var moreOwnTests = map[string][]string{
	"pocketbase": {"github.com/pocketbase/pocketbase/apis", "github.com/pocketbase/pocketbase/core", "github.com/pocketbase/pocketbase/tools/..."},
	"caddy":      {"github.com/caddyserver/caddy/v2/..."},
	"openfga": {
		"github.com/openfga/openfga/pkg/...", "github.com/openfga/openfga/internal/...", "github.com/openfga/openfga/cmd/...",
	},
}

// differ are tests that fail woven, and must, with the reason.
var differ = map[string]string{
	"github.com/mccutchen/go-httpbin/v2/httpbin TestDumpRequest": "it compares a whole request, and that has the header traceparent",
	"github.com/mccutchen/go-httpbin/v2/httpbin":                 "it has TestDumpRequest",
}

// TestOwnTestsOfServices: what passes plain passes woven.
func TestOwnTestsOfServices(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs tests of services")
	}
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	t.Setenv("CGO_ENABLED", "0")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1") // nobody listens there
	tests := maps.Clone(ownTests)
	if *more {
		maps.Copy(tests, moreOwnTests)
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			plain, told, err := Outcomes(t.Context(), services, false, tests[name]...)
			if err != nil {
				t.Fatalf("%v\n%s", err, told)
			}
			woven, told, err := Outcomes(t.Context(), services, true, tests[name]...)
			if err != nil {
				t.Fatalf("%v\n%s", err, told)
			}
			passed := 0
			for _, test := range slices.Sorted(maps.Keys(plain)) {
				if plain[test] != "pass" {
					continue
				}
				passed++
				if reason := differ[test]; reason != "" {
					if woven[test] != "fail" {
						t.Errorf("%s passes woven: it was to fail, as %s", test, reason)
					}
					continue
				}
				if woven[test] != "pass" {
					t.Errorf("%s: plain it passes, woven: %q", test, woven[test])
				}
			}
			t.Logf("%d of %d tests pass plain and woven", passed, len(plain))
			if passed == 0 {
				t.Error("nothing has passed plain")
			}
			if t.Failed() {
				t.Log(told)
			}
		})
	}
}

// writesLogs is true of what PocketBase does for the logs that it keeps.
func writesLogs(s ptrace.Span) bool {
	name, _ := s.Attributes().Get("db.namespace")
	return name.AsString() == "auxiliary.db"
}

var (
	// fields of a log record differ from run to run: sizes, paths, ids of their own.
	fields = regexp.MustCompile(`(?m)^( *log [A-Z]+ "(?:[^"\\\n]|\\.)*").*$`)
	// connects are as many as the pool of connections needs just then.
	connects = regexp.MustCompile(`(?m)^ *CONNECT \[client\].*\n`)
)

// brief leaves out what differs from run to run.
func brief(text string) string {
	return connects.ReplaceAllString(fields.ReplaceAllString(text, "$1"), "")
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", name, diff)
	}
}

// callHTTPBin calls a service on net/http and its ServeMux that logs by slog.
func callHTTPBin(t *testing.T, sink *otlpsink.Sink, programs string) {
	port := FreePort(t)
	s := Start(t, sink, t.TempDir(), filepath.Join(programs, "go-httpbin"), []string{"-host", "127.0.0.1", "-port", port}, port)
	url := "http://127.0.0.1:" + port
	Call(t, 200, "POST", url+"/post", `{"a":1}`, "Content-Type", "application/json")
	Call(t, 200, "GET", url+"/base64/decode/aGVsbG8=", "")
	Call(t, 418, "GET", url+"/status/418", "")
	Call(t, 200, "GET", url+"/redirect/2", "")
	Call(t, 404, "GET", url+"/nowhere", "")
	s.End()
}

// callCaddy calls a proxy that logs by zap, and what is behind it.
func callCaddy(t *testing.T, sink *otlpsink.Sink, programs string) {
	dir, port, behind, closed := t.TempDir(), FreePort(t), FreePort(t), FreePort(t)
	write := `{
	admin off
	auto_https off
	persist_config off
	storage file_system ` + dir + `
}
http://127.0.0.1:` + port + ` {
	log
	handle /hello/* {
		respond "hello"
	}
	handle /closed {
		reverse_proxy 127.0.0.1:` + closed + `
	}
	handle {
		reverse_proxy 127.0.0.1:` + behind + `
	}
}
`
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(write), 0o644); err != nil {
		t.Fatal(err)
	}
	b := Start(t, sink, dir, filepath.Join(programs, "go-httpbin"), []string{"-host", "127.0.0.1", "-port", behind}, behind)
	s := Start(t, sink, dir, filepath.Join(programs, "caddy"), []string{"run", "--config", "Caddyfile"}, port)
	url := "http://127.0.0.1:" + port
	Call(t, 200, "GET", url+"/hello/you", "")
	Call(t, 200, "POST", url+"/post", `{"a":1}`, "Content-Type", "application/json")
	Call(t, 503, "GET", url+"/status/503", "")
	Call(t, 502, "GET", url+"/closed", "")
	s.End()
	b.End()
}

// callPocketBase calls a service on net/http and SQLite, by database/sql.
func callPocketBase(t *testing.T, sink *otlpsink.Sink, programs string) {
	dir, port := t.TempDir(), FreePort(t)
	program := filepath.Join(programs, "base")
	run(t, dir, program, "superuser", "upsert", "a@example.com", "1234567890", "--dir", "data")
	s := Start(t, sink, dir, program, []string{"serve", "--http", "127.0.0.1:" + port, "--dir", "data", "--dev=false", "--hooksWatch=false"}, port)
	url := "http://127.0.0.1:" + port + "/api/collections"
	var auth struct{ Token string }
	decode(t, Call(t, 200, "POST", url+"/_superusers/auth-with-password", `{"identity":"a@example.com","password":"1234567890"}`, "Content-Type", "application/json"), &auth)
	as := []string{"Content-Type", "application/json", "Authorization", auth.Token}
	Call(t, 200, "POST", url, `{"name":"notes","type":"base","fields":[{"name":"title","type":"text","required":true}]}`, as...)
	Call(t, 200, "POST", url+"/notes/records", `{"id":"abcdefghijklmno","title":"first"}`, as...)
	Call(t, 200, "GET", url+"/notes/records/abcdefghijklmno", "", as...)
	Call(t, 200, "GET", url+"/notes/records?sort=-title&filter="+`title~%22f%22`, "", as...)
	Call(t, 400, "POST", url+"/notes/records", `{"title":""}`, as...)
	Call(t, 404, "GET", url+"/notes/records/none", "", as...)
	Call(t, 403, "GET", url+"/notes/records", "")
	s.End()
}

// callOpenFGA calls a service on gRPC, with a gateway for HTTP, that logs by zap
// and has SQLite by database/sql.
func callOpenFGA(t *testing.T, sink *otlpsink.Sink, programs string) {
	dir, http, grpc := t.TempDir(), FreePort(t), FreePort(t)
	program := filepath.Join(programs, "openfga")
	database := []string{"--datastore-engine", "sqlite", "--datastore-uri", "file:" + filepath.Join(dir, "fga.db")}
	run(t, dir, program, append([]string{"migrate"}, database...)...)
	s := Start(t, sink, dir, program, append([]string{"run", "--http-addr", "127.0.0.1:" + http, "--grpc-addr", "127.0.0.1:" + grpc,
		"--playground-enabled=false", "--metrics-enabled=false"}, database...), http, grpc)
	url := "http://127.0.0.1:" + http + "/stores"
	var store struct{ ID string }
	decode(t, Call(t, 201, "POST", url, `{"name":"papers"}`), &store)
	url += "/" + store.ID
	Call(t, 201, "POST", url+"/authorization-models", `{"schema_version":"1.1","type_definitions":[{"type":"user"},
		{"type":"paper","relations":{"reader":{"this":{}}},"metadata":{"relations":{"reader":{"directly_related_user_types":[{"type":"user"}]}}}}]}`)
	tuple := `{"user":"user:anne","relation":"reader","object":"paper:1"}`
	Call(t, 200, "POST", url+"/write", `{"writes":{"tuple_keys":[`+tuple+`]}}`)
	Call(t, 200, "POST", url+"/check", `{"tuple_key":`+tuple+`}`)
	Call(t, 200, "POST", url+"/read", `{}`)
	Call(t, 400, "POST", url+"/check", `{"tuple_key":{"user":"user:anne","relation":"writer","object":"paper:1"}}`)
	s.End()
}

// run runs a program that sets something up, without telemetry.
func run(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = append(environment(), "OTEL_SDK_DISABLED=true")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, text)
	}
}

func decode(t *testing.T, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
