package event

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openError(dir string) error {
	newCodecs, _ := idCodecs()
	s, err := open(Options{Dir: dir}, newCodecs, seldom)
	if err == nil {
		s.Close()
	}
	return err
}

func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	err := openError(dir)
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("second open: %v, want %q", err, want)
	}
	mustClose(t, s)
	if err := openError(dir); err != nil {
		t.Errorf("after close: %v", err)
	}
}

func TestFolderFormat(t *testing.T) {
	for content, want := range map[string]string{
		"guanlan events 1\n":  "",
		"guanlan events 2\n":  "has format 2, this version of Guanlan knows formats up to 1: start a newer version",
		"guanlan events x\n":  "is this a folder of Guanlan's events?",
		"guanlan events -1\n": "is this a folder of Guanlan's events?",
		"":                    "is this a folder of Guanlan's events?",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, formatFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := openError(dir)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
	dir := t.TempDir()
	if err := openError(dir); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, formatFile)); string(got) != "guanlan events 1\n" {
		t.Errorf("new folder says %q", got)
	}
}

// TestCrashChild is the process of TestLastCrash.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv("EVENT_TEST_CRASH_DIR")
	if dir == "" {
		t.Skip("is run by TestLastCrash")
	}
	s, _ := mustOpenStore(t, dir, seldom)
	mustWrite(t, s, "a", 3, noon)
	done := make(chan bool)
	go func() { // not in the test's goroutine, which would recover it
		panic("FATAL: cannot write 5 bytes: no space left on device")
	}()
	<-done
}

func TestLastCrash(t *testing.T) {
	dir := t.TempDir()
	began := time.Now().Add(-time.Second) // file systems round
	for range keepCrashes + 2 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
		cmd.Env = append(os.Environ(), "EVENT_TEST_CRASH_DIR="+dir)
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Fatalf("child did not crash:\n%s", out)
		}
	}
	var log strings.Builder
	s, _ := mustOpenStore(t, dir, seldom, func(o *Options) { o.Logger = testLogger(&log, 0) })
	const want = "cannot write 5 bytes: no space left on device"
	if got := s.Stats().LastCrash; !strings.Contains(got, want) || !strings.Contains(got, "TestCrashChild") {
		t.Errorf("last crash: %q", got)
	}
	if at := s.Stats().CrashedAt; at.Before(began) || at.After(time.Now()) {
		t.Errorf("crashed at %v, want between %v and now", at, began)
	}
	if !strings.Contains(log.String(), want) {
		t.Errorf("log: %q", log.String())
	}
	mustClose(t, s)
	if aside, _ := filepath.Glob(filepath.Join(dir, "crash-*.txt")); len(aside) == 0 || len(aside) > keepCrashes {
		t.Errorf("kept crash reports: %q", aside)
	}
	// The next start has it too: this one may have failed for another reason.
	s, _ = mustOpenStore(t, dir, seldom)
	if got := s.Stats().LastCrash; !strings.Contains(got, want) {
		t.Errorf("last crash after another start: %q", got)
	}
	mustClose(t, s)
	aside, _ := filepath.Glob(filepath.Join(dir, "crash-*.txt"))
	for _, name := range aside {
		yesterday := time.Now().Add(-crashNews)
		if err := os.Chtimes(name, yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
	}
	s, _ = mustOpenStore(t, dir, seldom)
	if got := s.Stats().LastCrash; got != "" {
		t.Errorf("an old crash is reported: %q at %v", got, s.Stats().CrashedAt)
	}
}
