package core

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A pipe or terminal is written to, and nothing else is done with it.
func TestFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "app.log"), 0o600); err != nil {
		t.Skipf("make a pipe: %v", err)
	}
	f := openTest(t, dir, FileOptions{MaxBytes: 4, Every: time.Nanosecond})
	write(t, f, "12345\n")
	write(t, f, "67890\n")
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	got := make([]byte, 12)
	if _, err := io.ReadFull(f.file.(*os.File), got); err != nil || string(got) != "12345\n67890\n" {
		t.Errorf("read %q, error %v", got, err)
	}
}

// The same on a disk that is full indeed.
func TestFileOnAFullTmpfs(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=65536"); err != nil {
		t.Skipf("mount a small tmpfs, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	var told atomic.Int64
	var ours atomic.Bool
	f := openTest(t, dir, FileOptions{Failed: func(err error) { told.Add(1); ours.Store(errors.Is(err, syscall.ENOSPC)) }})
	spool := NewFileSpool(f, 0)
	line := append(bytes.Repeat([]byte{'x'}, 998), '.', '\n')
	for range 200 {
		spool.Line(line, SeverityInfo)
		if err := spool.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s := spool.Stats()
	if s.Written < 50 || s.Written > 65 || s.Written+s.Failed != 200 || told.Load() != 1 || !ours.Load() {
		t.Errorf("full: stats %+v, told %d times, of want of space %v", s, told.Load(), ours.Load())
	}
	if err := os.Truncate(f.Path(), 0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		spool.Line(line, SeverityInfo)
	}
	if err := spool.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f.Path()); err != nil || string(got) != strings.Repeat(string(line), 10) || spool.Stats().Written != s.Written+10 {
		t.Errorf("with room again: %d bytes, error %v, stats %+v", len(got), err, spool.Stats())
	}
}

// TestMain is also the process that TestFileOfAKilledProcess kills.
func TestMain(m *testing.M) {
	if path := os.Getenv("GUANLAN_TEST_LOG_UNTIL_KILLED"); path != "" {
		logUntilKilled(path)
	}
	os.Exit(m.Run())
}

// logUntilKilled writes numbered lines and says which are written.
func logUntilKilled(path string) {
	f, err := OpenFile(FileOptions{Path: path, MaxBytes: 256 << 10, Keep: -1, Compress: true})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	spool := NewFileSpool(f, 0)
	for i := 0; ; i++ {
		spool.Line(fmt.Appendf(nil, "begin %08d %s end\n", i, strings.Repeat("x", i%300)), SeverityInfo)
		if i%500 == 499 {
			if err := spool.Flush(context.Background()); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println(i)
		}
	}
}

// After kill -9 all that was written is there, in whole lines and in order; the
// next process goes on behind it.
func TestFileOfAKilledProcess(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		path := filepath.Join(dir, fmt.Sprint(round), "app.log")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "GUANLAN_TEST_LOG_UNTIL_KILLED="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		written, scanner := -1, bufio.NewScanner(out)
		for n := 0; n < 20+7*round && scanner.Scan(); n++ {
			if _, err := fmt.Sscan(scanner.Text(), &written); err != nil {
				t.Fatalf("the process says %q", scanner.Text())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed

		f, err := OpenFile(FileOptions{Path: path, Keep: -1, Compress: true, Failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		write(t, f, "next\n")
		f.settled()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		_, texts := contents(t, filepath.Dir(path))
		lines := strings.SplitAfter(strings.Join(texts, ""), "\n")
		whole := 0
		for ; whole < len(lines); whole++ {
			if lines[whole] != fmt.Sprintf("begin %08d %s end\n", whole, strings.Repeat("x", whole%300)) {
				break
			}
		}
		// Behind the whole lines there is at most one that the kernel was
		// just taking.
		rest := lines[whole:]
		if whole <= written || len(texts) < 2 || len(rest) > 3 || rest[len(rest)-2] != "next\n" {
			t.Errorf("%d whole lines in %d files, %d were written for sure; then %q", whole, len(texts), written+1, rest)
		}
	}
}
