package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// smallDisk mounts a file system of its own. Size must leave room for what the
// stores set aside: a tenth for events, 96 MiB for metrics.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	give := t.Skipf
	if os.Getenv("CI") == "true" {
		give = t.Fatalf
	}
	if os.Getuid() != 0 {
		give("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		give("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// little is below what either store wants free, and above what they write without taking more.
const little = 16 << 20

// fill takes the free space but for what it is to leave, as another program would, and
// keeps the disk short of it: what the stores free while they merge or give up of their
// reserves is taken, too. The returned function gives all of it back.
func fill(t *testing.T, dir string, leave int64) (giveBack func()) {
	t.Helper()
	path := filepath.Join(dir, "other-program")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	take := func() {
		for left := free(dir) - leave; left > 0; left = free(dir) - leave {
			if _, err := f.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
				return
			}
		}
	}
	take()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				take()
			}
		}
	})
	end := sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
		f.Close()
		os.Remove(path)
	})
	t.Cleanup(end) // before its disk is unmounted
	return end
}

// free is the space that a disk has, in bytes.
func free(dir string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0
	}
	return int64(st.Bavail) * st.Bsize
}

// export sends one batch of a signal and returns how the server answered.
func export(ctx context.Context, conn *grpc.ClientConn, signal, name string, rows int) error {
	now, l := time.Now(), labels{{"batch", name}}
	var err error
	switch signal {
	case "traces":
		_, err = ptraceotlp.NewGRPCClient(conn).Export(ctx, ptraceotlp.NewExportRequestFromTraces(spansOf("disk", rows, now, l)))
	case "logs":
		_, err = plogotlp.NewGRPCClient(conn).Export(ctx, plogotlp.NewExportRequestFromLogs(logsOf("disk", rows, now, l)))
	case "metrics":
		_, err = pmetricotlp.NewGRPCClient(conn).Export(ctx, pmetricotlp.NewExportRequestFromMetrics(gaugeOf("disk", "disk", 1, now, l)))
	}
	return err
}

var signals = []string{"traces", "logs", "metrics"}

// sendAll sends batches of all signals until it is stopped, as real senders do, and
// remembers the answers. refused hears of those that are errors.
func sendAll(t *testing.T, conn *grpc.ClientConn, rows int, refused func(signal string, err error)) (ledgers map[string]*ledger, stop func()) {
	t.Helper()
	ledgers = map[string]*ledger{"traces": newLedger(), "logs": newLedger(), "metrics": newLedger()}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for signal, l := range ledgers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil && i < mostBatches; i++ {
				name := "b" + strconv.Itoa(i)
				l.try(name, rows)
				err := export(ctx, conn, signal, name, rows)
				switch {
				case err == nil:
					l.ack(name)
				case ctx.Err() == nil:
					refused(signal, err)
				}
				time.Sleep(20 * time.Millisecond) // the pace of a sender, not a wait
			}
		})
	}
	return ledgers, func() { cancel(); wg.Wait() }
}

// TestDiskFull fills the disk under a running process. Senders are told to
// wait, readers notice nothing, and what was acknowledged stays.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, "384m")
	p := start(t, filepath.Join(disk, "data"))
	conn := p.dial(t)
	const rows = 20

	ledgers, stop := sendAll(t, conn, rows, func(signal string, err error) {
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%s: got %v, want Unavailable", signal, err)
		}
	})
	defer stop()
	acked := func(signal string) int {
		ledgers[signal].mu.Lock()
		defer ledgers[signal].mu.Unlock()
		return len(ledgers[signal].acked)
	}
	for _, signal := range signals {
		eventually(t, signal+" before", func() error {
			if acked(signal) < 10 {
				return fmt.Errorf("%d batches acknowledged", acked(signal))
			}
			return nil
		})
	}

	giveBack := fill(t, disk, little)
	for _, signal := range signals {
		eventually(t, signal+" on a full disk", func() error { return wantRefusal(export(t.Context(), conn, signal, "full", 1)) })
		eventually(t, signal+" on a full disk by HTTP", func() error { return wantRetryAfter(t, p, signal) })
	}
	before := acked("traces")
	for _, signal := range []string{"traces", "logs"} {
		eventually(t, "read "+signal+" on a full disk", func() error {
			counts, err := p.counts("", signal, "batch", "service.name = disk")
			if err == nil && len(counts) < 10 {
				err = fmt.Errorf("got %d batches", len(counts))
			}
			return err
		})
	}
	if err := p.wantSample("", `max(disk{batch="b1"})`, 1); err != nil {
		t.Error("read metrics on a full disk:", err)
	}
	p.healthy(t)

	giveBack()
	back := time.Now()
	for _, signal := range signals {
		eventually(t, signal+" after", func() error { return export(t.Context(), conn, signal, "after-"+signal, 1) })
	}
	t.Logf("writes went on %v after there was space again", time.Since(back).Round(time.Millisecond))
	eventually(t, "senders after", func() error {
		if now := acked("traces"); now <= before {
			return fmt.Errorf("%d batches acknowledged, as before", now)
		}
		return nil
	})
	stop()
	for _, signal := range []string{"traces", "logs"} {
		l := ledgers[signal]
		l.try("after-"+signal, 1)
		l.ack("after-" + signal)
		eventually(t, signal, func() error {
			counts, err := p.counts("", signal, "batch", "service.name = disk")
			if err != nil {
				return err
			}
			delete(counts, "full") // some were taken before the disk was seen to be full
			return l.compare(counts)
		})
	}
	for name := range ledgers["metrics"].acked {
		if err := p.wantSample("", fmt.Sprintf(`count(last_over_time(disk{batch=%q}[1h]))`, name), 1); err != nil {
			t.Error(err)
		}
	}
	// Rates count what was stored, not what was refused and sent again. The
	// connector reports every 5 s.
	stored := 1 // after-traces
	counts, err := p.counts("", "traces", "batch", "service.name = disk")
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range counts {
		if name != "after-traces" {
			stored += int(n)
		}
	}
	eventually(t, "spans counted", func() error {
		return p.wantSample("", `sum(traces_span_metrics_calls_total{service_name="disk"})`, float64(stored))
	})
	p.healthy(t)
}

// TestDiskFullRestart kills a process whose disk is full. The next one starts,
// answers questions and refuses data until there is space.
func TestDiskFullRestart(t *testing.T) {
	disk := smallDisk(t, "384m")
	dir := filepath.Join(disk, "data")
	p := start(t, dir)
	const rows = 20
	for _, signal := range signals {
		if err := export(t.Context(), p.dial(t), signal, "before", rows); err != nil {
			t.Fatal(err)
		}
	}
	giveBack := fill(t, disk, little)
	conn := p.dial(t)
	for _, signal := range signals {
		eventually(t, signal+" on a full disk", func() error { return wantRefusal(export(t.Context(), conn, signal, "full", 1)) })
	}
	p.kill()

	p = start(t, dir)
	for _, signal := range []string{"traces", "logs"} {
		counts, err := p.counts("", signal, "batch", "service.name = disk")
		if err != nil || counts["before"] != rows {
			t.Errorf("%s after a restart on a full disk: got %v, %v, want %d rows", signal, counts, err, rows)
		}
	}
	giveBack()
	conn = p.dial(t)
	for _, signal := range signals {
		eventually(t, signal+" after", func() error { return export(t.Context(), conn, signal, "after", 1) })
	}
	if err := p.wantSample("", `last_over_time(disk{batch="before"}[1h])`, 1); err != nil {
		t.Error(err)
	}
	p.healthy(t)
}

// TestNoByteLeft takes every byte of the disk from a running process, which an engine
// that has to write ends it for, and then from one that starts. With room, the next
// one has all that was acknowledged.
func TestNoByteLeft(t *testing.T) {
	disk := smallDisk(t, "384m")
	dir := filepath.Join(disk, "data")
	p := start(t, dir)
	const rows = 20
	var mu sync.Mutex
	refused := map[string]int{}
	ledgers, stop := sendAll(t, p.dial(t), rows, func(signal string, _ error) {
		mu.Lock()
		defer mu.Unlock()
		refused[signal]++
	})
	defer stop()
	for signal, l := range ledgers {
		eventually(t, signal+" before", func() error {
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.acked) < 50 {
				return fmt.Errorf("%d batches acknowledged", len(l.acked))
			}
			return nil
		})
	}
	giveBack := fill(t, disk, 0)
	const patience = 5 * time.Minute // six seconds on a quiet machine
	eventuallyWithin(t, patience, "no byte left, and that senders are told", func() error {
		mu.Lock()
		defer mu.Unlock()
		if left := free(disk); left > 0 {
			return fmt.Errorf("%d bytes are left", left)
		}
		// As long as the stores may take to write what they hold (5 s), unless that ends the process.
		for _, signal := range signals {
			if refused[signal] < 300 && p.alive() {
				return fmt.Errorf("refused: %v", refused)
			}
		}
		return nil
	})
	stop()
	t.Logf("without a byte the process runs on: %v", p.alive())
	if p.alive() {
		p.kill()
	}

	next, err := launch(dir)
	if err != nil {
		t.Fatal(err)
	}
	began := next.ready()
	t.Logf("one that starts without a byte becomes ready: %v", began == nil)
	if next.alive() {
		next.kill()
	}

	giveBack()
	p = start(t, dir)
	for _, signal := range []string{"traces", "logs"} {
		counts, err := p.counts("", signal, "batch", "service.name = disk")
		if err == nil {
			err = ledgers[signal].compare(counts)
		}
		if err != nil {
			t.Errorf("%s: %v", signal, err)
		}
	}
	for name := range ledgers["metrics"].acked {
		if err := p.wantSample("", fmt.Sprintf(`count(last_over_time(disk{batch=%q}[1h]))`, name), 1); err != nil {
			t.Error(err)
		}
	}
	for _, signal := range signals {
		eventually(t, signal+" after", func() error { return export(t.Context(), p.dial(t), signal, "after", 1) })
	}
	p.healthy(t)
}

// wantRefusal returns nil when err tells a gRPC sender to come again later.
func wantRefusal(err error) error {
	st := status.Convert(err)
	if st.Code() != codes.Unavailable {
		return fmt.Errorf("got %v, want Unavailable", err)
	}
	for _, d := range st.Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok && r.RetryDelay.AsDuration() > 0 {
			if !strings.Contains(st.Message(), "free") {
				return fmt.Errorf("%q does not say that space is missing", st.Message())
			}
			return nil
		}
	}
	return fmt.Errorf("%v has no RetryInfo", err)
}

// wantRetryAfter returns nil when OTLP/HTTP answers 503 with a time.
func wantRetryAfter(t *testing.T, p *process, signal string) error {
	t.Helper()
	now, l := time.Now(), labels{{"batch", "full"}}
	m := map[string]marshaler{
		"traces":  ptraceotlp.NewExportRequestFromTraces(spansOf("disk", 1, now, l)),
		"logs":    plogotlp.NewExportRequestFromLogs(logsOf("disk", 1, now, l)),
		"metrics": pmetricotlp.NewExportRequestFromMetrics(gaugeOf("disk", "disk", 1, now, l)),
	}[signal]
	body, err := m.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	res, text, err := p.post(signal, protobuf, "", "", bytes.NewReader(body))
	if err != nil {
		return err
	}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); res.StatusCode != http.StatusServiceUnavailable || err != nil || seconds < 1 {
		return fmt.Errorf("got %s, Retry-After %q, want 503 and a number of seconds: %s", res.Status, res.Header.Get("Retry-After"), text)
	}
	return nil
}
