package profile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/store"
)

// childDir, when set in the environment, makes TestKillChild the process that
// TestKill kills.
const childDir = "PROFILE_TEST_CHILD_DIR"

// TestKillChild writes profiles from several goroutines for ever and flushes all
// the time. It prints "try NAME" before a write and "ack NAME" behind it.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("is run by TestKill")
	}
	run := os.Getenv("PROFILE_TEST_CHILD_RUN")
	o := Options{Dir: dir, DiskReserve: 1, Now: func() time.Time { return noon }, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if rand.IntN(3) == 0 {
		o.Sync = journal.SyncAlways
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("f%s_%d_%d", run, w, i)
				fmt.Printf("try %s\n", name)
				// Half a batch would show as one of the two.
				_, err := s.Write(context.Background(), store.Tenant{}, []New{of("a", cpu(noon, "main;"+name+" 1")), of("b", cpu(noon, "main;"+name+" 1"))})
				if err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Printf("ack %s\n", name)
			}
		})
	}
	for {
		if err := s.flush(); err != nil {
			fmt.Println("error", err)
		}
	}
}

// TestKill kills a real process that takes profiles in, again and again on the
// same folder, and compares what is stored with what was acknowledged.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	tried, acked := map[string]bool{}, map[string]bool{}
	for round := range 10 {
		runChild(t, dir, fmt.Sprint(round), tried, acked)
		o, _ := testOptions(t, dir)
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		kept := map[string]bool{}
		m, err := sumOf(s, hour(), "cpu", true)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range folded(m.Profile) {
			name, n, _ := strings.Cut(strings.TrimPrefix(line, "main;"), " ")
			if n != "2" || !tried[name] {
				t.Fatalf("round %d: %q: want each write that was tried once, in both services", round, line)
			}
			kept[name] = true
		}
		for name := range acked {
			if !kept[name] {
				t.Fatalf("round %d: %s was acknowledged and is gone", round, name)
			}
		}
		if st := s.Stats(); st.Damaged != 0 {
			t.Fatalf("round %d: %+v", round, st)
		}
		if round%2 == 0 {
			err = s.Close()
		} else {
			s.abandon()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d writes acknowledged", len(acked))
}

// runChild runs TestKillChild and kills it after some writes.
func runChild(t *testing.T, dir, run string, tried, acked map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, "PROFILE_TEST_CHILD_RUN="+run)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	goal, lines := 20+rand.IntN(200), bufio.NewScanner(out)
	for n := 0; lines.Scan(); {
		word, name, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "try":
			tried[name] = true
		case "ack":
			acked[name] = true
			if n++; n == goal {
				_ = cmd.Process.Kill()
			}
		case "error":
			t.Error("child:", name)
		}
	}
	_, _ = io.Copy(io.Discard, out) // what does not fit in a line
	_ = cmd.Wait()                  // killed
}
