//go:build unix

package weavetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/guanlan-io/guanlan/internal/testkit/otlpsink"
	"github.com/guanlan-io/guanlan/internal/weave"
)

const sdkDir = "../../../sdk"

// What the SDK does in woven programs only has its tests beside it, which run
// woven.
func TestSDKWoven(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the standard library anew")
	}
	text, err := os.ReadFile(filepath.Join(sdkDir, "woven_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
		names = append(names, string(m[1]))
	}
	var out bytes.Buffer
	w := weave.Weaver{Dir: sdkDir, Strict: true, Stdout: &out, Stderr: &out}
	code, err := w.Run(t.Context(), "test", []string{"-tags", "guanlan_woven", "-v", "-run", "^(" + strings.Join(names, "|") + ")$", "."})
	if code != 0 || err != nil {
		t.Fatalf("code %d, %v\n%s", code, err, &out)
	}
	for _, n := range names {
		if !strings.Contains(out.String(), "--- PASS: "+n+" ") {
			t.Errorf("%s did not run", n)
		}
	}
}

// A program that has the SDK in it, and only once, is woven with that; also when
// it does not start it.
func TestProgramWithSDK(t *testing.T) {
	sdk, err := filepath.Abs(sdkDir)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(sdk, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(sdk, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/guanlan-io/guanlan/sdk"
	mod = bytes.Replace(mod, []byte("module "+module), []byte("module example.com/app"), 1)
	mod = append(mod, "\nrequire "+module+" v0.0.0\n\nreplace "+module+" => "+sdk+"\n"...)
	const program = `package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/guanlan-io/guanlan/sdk"
)

func main() {
	BEGIN
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { sdk.RequestOf(r.Context()).SetRoute("/by/hand") })
	server := httptest.NewServer(sdk.Handler(handler))
	client := &http.Client{Transport: sdk.Transport(nil)}
	response, err := client.Get(server.URL)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	_ = context.Background
}
`
	for _, tt := range []struct{ name, begin string }{
		{"that starts it", "s, _ := sdk.Start(context.Background(), sdk.Options{}); defer s.Shutdown(context.Background())"},
		{"that does not", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"go.mod": string(mod), "go.sum": string(sums), "main.go": strings.Replace(program, "BEGIN", tt.begin, 1)} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			bin := filepath.Join(t.TempDir(), "app")
			if err := Woven(dir, bin); err != nil {
				t.Fatal(err)
			}
			sink := otlpsink.New(t)
			cmd := exec.Command(bin)
			cmd.Env = append(os.Environ(), sink.Env()...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			got := sink.WaitSpans(2).Render()
			const want = "GET [client] http.request.method=GET http.response.status_code=200\n  GET /by/hand [server] http.request.method=GET http.route=/by/hand http.response.status_code=200\n"
			if !strings.HasPrefix(got, want) || strings.Count(got, "[server]")+strings.Count(got, "[client]") != 2 {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
