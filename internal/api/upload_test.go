package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/guanlan-io/guanlan/internal/query"
)

// uploader is a server that takes profiles, by bounds that a test may change.
func uploader(t *testing.T, u *uploads, store query.Profiler) *Server {
	t.Helper()
	return start(t, ServerOptions{Doors: Doors{API: New(Options{Profiles: store, uploads: u})}})
}

// trickle begins to send a profile and stops after text; what is sent later follows it.
func trickle(t *testing.T, s *Server, size int, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", ProfilesPath, size, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// answered reads the answer to a request that was written by hand.
func answered(t *testing.T, c net.Conn) (status int, text string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func upload(t *testing.T, s *Server, size int) (*http.Response, string) {
	t.Helper()
	return call(t, s, http.MethodPost, ProfilesPath, func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", size))), int64(size)
	})
}

// taken waits until as much of a bound is taken as leaves less than free.
func taken(t *testing.T, s *semaphore.Weighted, free int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); s.TryAcquire(free); time.Sleep(time.Millisecond) {
		s.Release(free)
		if time.Now().After(end) {
			t.Fatal("nothing came of what was sent")
		}
	}
}

// Those who send slowly keep nobody out, and are let in when they are done.
func TestSlowUploadsKeepNobodyOut(t *testing.T) {
	u := newUploads()
	s := uploader(t, u, &profileRecorder{})
	var slow []net.Conn
	for range 2 * maxUnpacked {
		slow = append(slow, trickle(t, s, 10, "begin"))
	}
	taken(t, u.memory, uploadMemory-(2*maxUnpacked-1)*uploadChunk) // all of them began
	if res, text := upload(t, s, 3*uploadChunk); res.StatusCode != http.StatusOK {
		t.Errorf("beside %d slow ones: %d %s", len(slow), res.StatusCode, text)
	}
	if res, text := call(t, s, http.MethodGet, ProfilesPath, nil); res.StatusCode != http.StatusOK {
		t.Errorf("a question: %d %s", res.StatusCode, text)
	}
	for _, c := range slow {
		if _, err := io.WriteString(c, "ended"); err != nil {
			t.Fatal(err)
		}
		if status, text := answered(t, c); status != http.StatusOK {
			t.Errorf("a slow one: %d %s", status, text)
		}
	}
	if !u.memory.TryAcquire(uploadMemory) {
		t.Error("some of the memory was not given back")
	}
}

// Who sends too slowly, or not all, is told so, and holds nothing any more.
func TestUploadsThatStall(t *testing.T) {
	u := newUploads()
	u.stall = 50 * time.Millisecond
	s := uploader(t, u, &profileRecorder{})
	status, text := answered(t, trickle(t, s, 10, "begin"))
	if status != http.StatusRequestTimeout || !strings.Contains(text, "too slowly: less than 64 KiB in 50ms") {
		t.Errorf("stalled: %d %s", status, text)
	}
	u.stall = time.Hour
	c := trickle(t, s, 10, "begin")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if status, text = answered(t, c); status != http.StatusBadRequest || !strings.Contains(text, "did not come whole") {
		t.Errorf("cut short: %d %s", status, text)
	}
	if !u.memory.TryAcquire(uploadMemory) {
		t.Error("some of the memory was not given back")
	}
}

// Beyond the bounds on what came, and on what is unpacked at a time, the answer is 503 and when to try again.
func TestUploadsAreBounded(t *testing.T) {
	u := newUploads()
	u.memory = semaphore.NewWeighted(4 * uploadChunk)
	r := &waitingProfiler{profileRecorder: &profileRecorder{}, entered: make(chan struct{}), leave: make(chan struct{})}
	s := uploader(t, u, r)
	refused := func(what, words string, size int) {
		t.Helper()
		res, text := upload(t, s, size)
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(text, words) {
			t.Errorf("%s: %d %v %s", what, res.StatusCode, res.Header, text)
		}
	}
	refused("more than there is memory", "profiles are on their way", 5*uploadChunk)
	slow := trickle(t, s, 10, "begin")
	taken(t, u.memory, 4*uploadChunk)
	refused("beside another", "profiles are on their way", 4*uploadChunk-1)
	_ = slow.Close()

	u.unpacking, u.turn = semaphore.NewWeighted(1), time.Millisecond
	first := trickle(t, s, 1, "x")
	<-r.entered
	refused("while another is unpacked", "have been unpacked for 1ms", 1)
	close(r.leave)
	if status, text := answered(t, first); status != http.StatusOK {
		t.Errorf("the first: %d %s", status, text)
	}
	u.turn = time.Minute
	if res, text := upload(t, s, 1); res.StatusCode != http.StatusOK {
		t.Errorf("after it: %d %s", res.StatusCode, text)
	}
}

// waitingProfiler says that a profile has come to it, and waits.
type waitingProfiler struct {
	*profileRecorder
	entered, leave chan struct{}
}

func (p *waitingProfiler) Add(ctx context.Context, body []byte, kind string, resource map[string]string) (*query.ProfileAdded, error) {
	select {
	case p.entered <- struct{}{}:
		<-p.leave
	case <-p.leave:
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err())
	}
	return p.profileRecorder.Add(ctx, body, kind, resource)
}
