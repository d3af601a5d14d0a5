package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// TestScript runs the command line as users do. Besides the usual commands, a
// script has these:
//
//	serve DIR        start `guanlan up` on a folder; $API (and $ADDRESS), $GRPC and
//	                 $HTTP say where it listens, $PID who it is. It ends with the script
//	stop             end it in good order
//	exits CODE CMD…  run a command that ends with an exit code
//	push SIGNAL FILE send OTLP/JSON; NOW or NOW-1s in it is a time in nanoseconds
//	until TEXT CMD…  run a command until its output contains TEXT, and fail
//	                 when it does not in time
//	free NAME        set a variable to an address where nothing listens
//	plain FILE       fail if a file has control characters but line ends
func TestScript(t *testing.T) {
	goFolders := map[string]string{}
	out, err := exec.Command("go", "env", "-json", "GOCACHE", "GOMODCACHE").Output()
	if err == nil {
		err = json.Unmarshal(out, &goFolders)
	}
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	user, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	goFolders["GUANLAN_CACHE"] = cmp.Or(os.Getenv("GUANLAN_CACHE"), filepath.Join(user, "guanlan"))
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			// What the standard library was compiled to is found again.
			for name, value := range goFolders {
				env.Setenv(name, value)
			}
			env.Values[served{}] = new(*process)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "serve": scriptServe, "stop": scriptStop, "push": scriptPush, "until": scriptUntil, "free": scriptFree, "plain": scriptPlain,
		},
	})
}

// served is the key of a script's process.
type served struct{}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	got, err := 0, ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit code: got %d, want %s", got, want)
	}
}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve DIR")
	}
	p, err := launch(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(startPatience):
			p.kill()
		}
		if p.cmd.ProcessState.ExitCode() != 0 {
			ts.Logf("guanlan up ended with %v:\n%s", p.cmd.ProcessState, p.output)
		}
	})
	ts.Check(p.ready())
	*ts.Value(served{}).(**process) = p
	ts.Setenv("API", p.api)
	ts.Setenv("ADDRESS", strings.TrimPrefix(p.api, "http://"))
	ts.Setenv("GRPC", p.grpc)
	ts.Setenv("HTTP", p.http)
	ts.Setenv("PID", strconv.Itoa(p.cmd.Process.Pid))
}

func scriptStop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: stop")
	}
	p := *ts.Value(served{}).(**process)
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.ended:
	case <-time.After(startPatience):
		ts.Fatalf("guanlan up does not stop:\n%s", p.output)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		ts.Fatalf("guanlan up ended with %d:\n%s", code, p.output)
	}
}

var moment = regexp.MustCompile(`NOW(-[0-9a-z]+)?`)

func scriptPush(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: push SIGNAL FILE")
	}
	p := *ts.Value(served{}).(**process)
	now := time.Now()
	body := moment.ReplaceAllStringFunc(ts.ReadFile(args[1]), func(m string) string {
		var before time.Duration
		if d := strings.TrimPrefix(m, "NOW-"); d != m {
			var err error
			before, err = time.ParseDuration(d)
			ts.Check(err)
		}
		return strconv.FormatInt(now.Add(-before).UnixNano(), 10)
	})
	res, text, err := p.post(args[0], jsonType, "", "", strings.NewReader(body))
	ts.Check(err)
	if res.StatusCode != http.StatusOK {
		ts.Fatalf("push %s: %s: %s", args[0], res.Status, text)
	}
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT COMMAND...")
	}
	var last string
	for deadline := time.Now().Add(seenPatience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		last = ts.ReadFile("stdout") + ts.ReadFile("stderr")
		if err == nil && strings.Contains(last, args[0]) {
			return
		}
	}
	ts.Fatalf("%q does not come up in:\n%s", args[0], last)
}

func scriptFree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: free NAME")
	}
	port, err := freePort()
	ts.Check(err)
	ts.Setenv(args[0], "127.0.0.1:"+strconv.Itoa(port))
}

func scriptPlain(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] plain FILE")
	}
	text := ts.ReadFile(args[0])
	at := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 })
	if (at >= 0) != neg {
		ts.Fatalf("%s: first control character at %d:\n%q", args[0], at, text)
	}
}
