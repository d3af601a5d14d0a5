package metric

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/guanlan-io/guanlan/internal/store"
)

// crashDir, when set, makes the test binary the child of TestKill: it writes
// batches there without end and says after each that it was acknowledged.
const crashDir = "GUANLAN_METRIC_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := writeForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// A check of TestAgainstMap takes a third of a second; -rapid.checks asks
	// for more.
	if err := flag.Lookup("rapid.checks").Value.Set("25"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// crashStart is the time of the first batch; batch i lies i seconds later and
// has, for each of two tenants, a gauge, a native histogram, a delta sum and,
// six minutes back, an out-of-order gauge.
var crashTenants = []store.Tenant{{}, {Account: 3}}

func writeForEver(dir string) error {
	start, err := strconv.ParseInt(os.Getenv(crashDir+"_START"), 10, 64)
	if err != nil {
		return err
	}
	s, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		at := time.Unix(start+int64(i), 0)
		b := newBatch(map[string]string{"service.name": "crash"})
		b.gauge("inorder", "", at, float64(i))
		b.exponential("native", "", cumulative, at)
		b.sum("deltas", "", delta, at, 1).SetStartTimestamp(pcommon.NewTimestampFromTime(at.Add(-time.Second)))
		b.gauge("late", "", at, float64(i))
		b.gauge("late", "", at.Add(-6*time.Minute), float64(i))
		for _, t := range crashTenants {
			if err := s.Write(context.Background(), t, b.Metrics); err != nil {
				return err
			}
		}
		fmt.Println(i)
	}
}

// TestKill kills a writing process several times over the same folder: what it
// had acknowledged must all be there.
func TestKill(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const rounds = 3
	start := time.Now().Add(-30 * time.Minute).Truncate(time.Second)
	for round := range rounds {
		cmd := exec.Command(self)
		from := start.Add(time.Duration(round) * 12 * time.Minute)
		cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s_START=%d", crashDir, from.Unix()))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acked := -1
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if acked, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if acked == 150+70*round { // more than one chunk of the series
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		for lines.Scan() { // acknowledged before the signal arrived
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				acked = n
			}
		}
		_ = cmd.Wait()
		if acked < 150 {
			t.Fatalf("round %d: the child ended after %d batches", round, acked)
		}
		s := openStore(t, in(dir))
		last := from.Add(time.Duration(acked) * time.Second)
		window := fmt.Sprintf("[%ds:1s]", acked+1)
		for _, tenant := range crashTenants {
			for expr, want := range map[string]float64{
				"count_over_time(inorder" + plain(acked) + ")":            float64(acked + 1),
				"count_over_time(native" + plain(acked) + ")":             float64(acked + 1),
				"count_over_time(deltas_total" + plain(acked) + ")":       float64(acked + 1),
				"count_over_time(late" + plain(acked) + ")":               float64(acked + 1),
				"count_over_time(late" + plain(acked) + " offset 6m)":     float64(acked + 1),
				"sum_over_time((late offset 6m - inorder)" + window + ")": 0,
				"histogram_count(native)":                                 6,
				"deltas_total":                                            float64(acked + 1),
			} {
				got, err := s.Instant(context.Background(), tenant, expr, last)
				if err != nil || len(got) != 1 || got[0].Value != want {
					t.Errorf("round %d, tenant %s: %s: got %v, %v; want %v", round, tenant, expr, got, err, want)
				}
			}
		}
		closeStore(t, s)
	}
}

// plain is the range that holds exactly the acknowledged batches.
func plain(acked int) string { return fmt.Sprintf("[%ds]", acked+1) }
