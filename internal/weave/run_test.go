package weave

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// A program is run as go run does.
func TestRunProgram(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the program ends itself by a signal")
	}
	t.Setenv("OTEL_SDK_DISABLED", "true")
	dir := folder(t, map[string]string{
		"me@home/go.mod": "module example.com/app\n\ngo 1.24\n",
		"me@home/order/main.go": `package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	wd, _ := os.Getwd()
	fmt.Println(filepath.Base(os.Args[0]), os.Args[1:], filepath.Base(wd), os.Getenv("ADDED"))
	switch os.Args[1] {
	case "wait":
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGTERM)
		fmt.Println("waits")
		fmt.Println(<-got)
		os.Exit(4)
	case "end":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
`,
	})
	dir = filepath.Join(dir, "me@home")
	for _, tt := range []struct {
		args string
		code int
		out  string
	}{
		{"./order a", 0, "order [a] me@home \n"},
		{filepath.Join(dir, "order") + " a", 0, "order [a] me@home \n"},
		{"-C order -exec 'env'\x00\"ADDED=by\x00env\" main.go a", 0, "main [a] order by env\n"},
		{"./order end", 128 + 9, "order [end] me@home \n"},
		{"./nowhere", 1, ""},
	} {
		r := newTrial(t, dir, nil)
		args := strings.Fields(tt.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "\x00", " ")
		}
		code, err := r.Run(t.Context(), "run", args)
		if code != tt.code || err != nil || r.out.String() != tt.out {
			t.Errorf("%s: code %d, %v, printed %q, %s", tt.args, code, err, r.out.String(), r.errOut.String())
		}
		if tt.code == 137 && (len(r.warned) != 1 || !strings.Contains(r.warned[0], "killed")) {
			t.Errorf("%s: warned %q", tt.args, r.warned)
		}
		if tt.code == 1 && !strings.Contains(r.errOut.String(), "nowhere") {
			t.Errorf("%s: said %q", tt.args, r.errOut.String())
		}
	}
	r := newTrial(t, dir, nil)
	if r.must(t, "run", "-n", "./order", "a"); r.out.Len() > 0 {
		t.Errorf("-n: printed %q", r.out.String())
	}
	// A signal reaches the program, which takes its time.
	r = newTrial(t, dir, nil)
	signals := make(chan os.Signal, 1)
	r.Signals, r.Stdin = signals, strings.NewReader("")
	r.Stdout = &when{of: &r.out, text: "waits", do: func() { signals <- syscall.SIGTERM }}
	if code, err := r.Run(t.Context(), "run", []string{"./order", "wait"}); code != 4 || err != nil || !strings.Contains(r.out.String(), "terminated") {
		t.Errorf("signal: code %d, %v, printed %q", code, err, r.out.String())
	}
}

// when does something once a text has been written.
type when struct {
	of   *bytes.Buffer
	text string
	do   func()
}

func (w *when) Write(p []byte) (int, error) {
	n, err := w.of.Write(p)
	if w.do != nil && strings.Contains(w.of.String(), w.text) {
		w.do()
		w.do = nil
	}
	return n, err
}

// What is typed at a terminal, the program gets by itself.
func TestIsTerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, in := range []io.Reader{nil, strings.NewReader(""), null} {
		if isTerminal(in) {
			t.Errorf("%v is a terminal", in)
		}
	}
}

// A heading that a failing test prints is no message of the compiler.
func TestBlame(t *testing.T) {
	p := &Plan{Woven: []Woven{{Aspect: "log", Package: "log"}, {Aspect: "lib", Package: "example.com/lib"}}}
	for message, want := range map[string]string{
		"--- FAIL: TestX\n# log\n\nA report.\nFAIL\n":                                                "",
		"# example.com/lib\nlib/lib.go:5:1: undefined: x\n":                                          "lib",
		"# example.com/lib [example.com/lib.test]\n./lib.go:5:1: undefined: x\n":                     "lib",
		"# example.com/lib\n# [example.com/lib]\n./lib.go:3: wrong format\n# log\n./log.go:1:1: x\n": "lib log",
	} {
		if got := strings.Join(p.blame(message), " "); got != want {
			t.Errorf("%q: blamed %q, want %q", message, got, want)
		}
	}
}
