package prom

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/golang/snappy"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/metric"
)

// TestFullDisk: senders must be told to come again, readers must be served.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("mount tmpfs: %v (needs CAP_SYS_ADMIN)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	f := serveStore(t, metric.Options{Dir: dir, MinFree: 4 << 20}, func(o *Options) { o.Admin = true })
	now := time.Now()
	f.put(t, store.Tenant{}, now, 1, "__name__", "m")
	hog, err := os.Create(dir + "/hog")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(hog, zeros{}) // until it is full
	hog.Close()

	raw, _ := proto.Marshal(requestV1(now, false))
	export, _ := otlp(now, 0).MarshalProto()
	for name, c := range map[string]struct {
		path string
		body []byte
		typ  string
	}{
		"remote write": {"/api/v1/write", snappy.Encode(nil, raw), "application/x-protobuf"},
		"OTLP":         {"/api/v1/otlp/v1/metrics", export, "application/x-protobuf"},
		"delete":       {"/api/v1/admin/tsdb/delete_series?match[]=m", nil, ""},
	} {
		code, h, body := f.do(t, http.MethodPost, c.path, bytes.NewReader(c.body), "Content-Type", c.typ)
		if code != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
			t.Errorf("%s: got %d, Retry-After %q, %q", name, code, h.Get("Retry-After"), body)
		}
	}
	if got := f.query(t, "m", now); got != "m 1" {
		t.Errorf("read: got %s", got)
	}
	os.Remove(dir + "/hog")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		code, _, body := f.do(t, http.MethodPost, "/api/v1/write", bytes.NewReader(snappy.Encode(nil, raw)), "Content-Type", "application/x-protobuf")
		if code == http.StatusNoContent {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with space again: got %d %s", code, body)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
