package event

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
const childDir = "EVENT_TEST_CHILD_DIR"

// TestKillChild writes batches from several goroutines for ever: new days, old
// days, settled days, small and large ones. It prints "try NAME ROWS" before
// a write and "ack NAME" when it was accepted.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("is run by TestKill")
	}
	run := os.Getenv("EVENT_TEST_CHILD_RUN")
	newCodecs, _ := idCodecs()
	opts := Options{Dir: dir, Memory: 64 << 20, Logger: testLogger(os.Stderr, slog.LevelWarn), DiskReserve: 1,
		QueueBytes: 1 << 20}
	if rand.IntN(3) == 0 {
		opts.Sync = journal.SyncAlways
	}
	s, err := open(opts, newCodecs, often)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s-%d-%d", run, w, i)
				n := 1 + rand.IntN(1+rand.IntN(300))
				at := noon.Add(-time.Duration(rand.IntN(1+rand.IntN(5))) * oneDay)
				fmt.Printf("try %s %d\n", name, n)
				if w == 0 {
					err = s.WriteLogs(context.Background(), store.Tenant{}, logsOf(name, n, at))
				} else {
					err = s.WriteTraces(context.Background(), store.Tenant{}, spansOf(name, n, at))
				}
				if err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Printf("ack %s\n", name)
			}
		})
	}
	wg.Wait()
}

// TestKill kills a real process that takes batches in and makes checkpoints
// all the time, again and again on the same folder, and compares what is
// stored with what was acknowledged, row by row.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	tried, acked := map[string]int{}, map[string]bool{}
	rounds := 12
	for round := range rounds {
		runChild(t, dir, fmt.Sprint(round), tried, acked)
		if round%3 != 2 && round != rounds-1 {
			continue // the next child meets what this one left
		}
		s, h := mustOpenStore(t, dir, seldom)
		got := ids(t, s, s.traces, store.Tenant{})
		for id, n := range ids(t, s, s.logs, store.Tenant{}) {
			got[id] += n
		}
		rows := map[string]int{}
		for id, n := range got {
			name, _, _ := strings.Cut(id, "/")
			rows[name]++
			if n != 1 {
				t.Errorf("round %d: row %s is stored %d times", round, id, n)
			}
			if tried[name] == 0 {
				t.Errorf("round %d: row %s was never written", round, id)
			}
		}
		for name, n := range tried {
			if rows[name] != n && (acked[name] || rows[name] != 0) {
				t.Errorf("round %d: %d of %d rows of %s are stored (acknowledged: %v)", round, rows[name], n, name, acked[name])
			}
			if h.counts[name] != rows[name] {
				t.Errorf("round %d: helper has %d rows of %s, stored are %d", round, h.counts[name], name, rows[name])
			}
		}
		// Every batch is a stream of its own; the index must know all.
		checked := 0
		for name := range rows {
			q := fmt.Sprintf("{batch=%q}", name)
			found := len(query(t, s, s.traces, store.Tenant{}, q)) + len(query(t, s, s.logs, store.Tenant{}, q))
			if found != rows[name] {
				t.Errorf("round %d: the index finds %d of %d rows of %s", round, found, rows[name], name)
			}
			if checked++; checked == 100 { // a sample: each is a query
				break
			}
		}
		t.Logf("round %d: %d batches tried, %d acknowledged, %d rows; %+v", round, len(tried), len(acked), len(got), s.Stats().Recovery)
		if t.Failed() {
			t.FailNow()
		}
		if round%2 == 0 {
			mustClose(t, s)
		} else {
			dir = crash(t, dir)
			mustClose(t, s)
		}
	}
}

// runChild runs a child until it is killed, at a random moment from before
// Open has finished to deep in checkpoints.
func runChild(t *testing.T, dir, run string, tried map[string]int, acked map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$", "-test.v")
	cmd.Env = append(os.Environ(), childDir+"="+dir, "EVENT_TEST_CHILD_RUN="+run)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// One in three is killed around its Open, the others while they write.
	kill := func() {
		timer := time.AfterFunc(time.Duration(rand.IntN(800))*time.Millisecond, func() { cmd.Process.Kill() })
		t.Cleanup(func() { timer.Stop() })
	}
	early := rand.IntN(3) == 0
	if early {
		kill()
	}
	n := 0
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line without its end was cut by the kill
		}
		var name string
		var rows int
		if _, err := fmt.Sscanf(line, "try %s %d\n", &name, &rows); err == nil {
			tried[name] = rows
		} else if _, err := fmt.Sscanf(line, "ack %s\n", &name); err == nil {
			acked[name] = true
			if n++; n == 1 && !early {
				kill()
			}
		}
		if strings.HasPrefix(line, "error") {
			t.Error(line)
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != -1 {
		t.Fatalf("run %s: child ended by itself with %d:\n%s", run, code, stderr.String())
	}
	t.Logf("run %s: %d acknowledged", run, n)
}
