// Command storm sends many requests of many shapes to a program like itself, which checks
// that they came unharmed and keeps the traceparent of each. It knows nothing of
// tracing, and prints the addresses of its plain and of its TLS server. Requests may go to
// names that nobody knows: whatever the host, the connection is to the program that is asked.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
)

// job is one request; its shape comes from its number alone.
type job struct {
	to, host string
	n        int
	done     func(error)
}

// peer is where a request's connection goes, as a value of its context.
type peer struct {
	addr  string
	plain bool
}

func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if p, ok := ctx.Value(peer{}).(peer); ok {
		addr = p.addr
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func main() {
	client := &http.Client{Transport: transport(&tls.Config{InsecureSkipVerify: true})}
	// Workers start before all requests, so that each call is a trace of its own.
	jobs := make(chan job)
	for i := 0; i < 24; i++ {
		go func() {
			for j := range jobs {
				j.done(ask(client, j))
			}
		}()
	}
	var mu sync.Mutex
	seen := map[string]string{}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo/", func(w http.ResponseWriter, r *http.Request) {
		if err := check(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		seen[strings.TrimPrefix(r.URL.Path, "/echo/")] = strings.Join(r.Header["Traceparent"], ",")
		mu.Unlock()
		w.Header().Set("X-Answer", r.URL.Path)
		_, _ = io.WriteString(w, "ok "+r.URL.Path)
	})
	mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		for id, tp := range seen {
			fmt.Fprintln(w, id, tp)
		}
		seen = map[string]string{}
	})
	mux.HandleFunc("/storm", func(w http.ResponseWriter, r *http.Request) {
		first, _ := strconv.Atoi(r.FormValue("first"))
		n, _ := strconv.Atoi(r.FormValue("n"))
		hosts := strings.Split(r.FormValue("hosts"), ",")
		var wg sync.WaitGroup
		var mu sync.Mutex
		failed := 0
		step, _ := strconv.Atoi(r.FormValue("step"))
		if step == 0 {
			step = 1
		}
		for i := first; i < first+n*step; i += step {
			wg.Add(1)
			jobs <- job{r.FormValue("to"), hosts[i%len(hosts)], i, func(err error) {
				mu.Lock()
				if err != nil {
					if failed++; failed < 10 {
						fmt.Fprintln(w, err)
					}
				}
				mu.Unlock()
				wg.Done()
			}}
		}
		wg.Wait()
		fmt.Fprintln(w, "failed:", failed)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	secure := httptest.NewUnstartedServer(mux)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	fmt.Println(l.Addr(), secure.Listener.Addr())
	_ = (&http.Server{Handler: plain(mux)}).Serve(l)
}

// own is what requests with a traceparent of their own have.
const own = "00-11111111111111111111111111111111-2222222222222222-00"

func ask(client *http.Client, j job) error {
	to, n := j.to, j.n
	at := strings.Index(to, "://") + len("://")
	ctx := context.WithValue(context.Background(), peer{}, peer{to[at:], !strings.HasPrefix(to, "https")})
	if j.host != "" {
		to = to[:at] + j.host
	}
	rnd := rand.New(rand.NewSource(int64(n)))
	var body []byte
	if n%2 == 1 {
		sizes := []int{0, 1, 100, 3000 + rnd.Intn(2200), 32 << 10, rnd.Intn(100 << 10)}
		body = make([]byte, sizes[rnd.Intn(len(sizes))])
		_, _ = rnd.Read(body)
	}
	url := fmt.Sprintf("%s/echo/%d", to, n)
	switch n % 16 { // the buffer of net/http is of 4096 bytes
	case 5:
		url += "?" + strings.Repeat("q", 3700+rnd.Intn(600))
	case 6:
		url += "?" + strings.Repeat("q", rnd.Intn(10_000))
	}
	method := "GET"
	var reader io.Reader
	if len(body) > 0 {
		method, reader = "POST", bytes.NewReader(body)
		if n%3 == 0 {
			reader = io.MultiReader(reader) // of a length that nobody knows
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return err
	}
	headers := []int{0, 1, 5, 8, 20, 60, 150}[rnd.Intn(7)]
	if n%16 != 9 && headers > 60 {
		headers = 30
	}
	for i := 0; i < headers; i++ {
		req.Header.Set(fmt.Sprintf("X-Header-%d", i), strings.Repeat("v", i*n%97))
	}
	req.Header.Set("X-Sum", fmt.Sprint(crc32.ChecksumIEEE(body)))
	req.Header.Set("X-Headers", strconv.Itoa(headers))
	switch n % 20 {
	case 7:
		req.Header.Set("traceparent", own)
	case 8:
		req.Header["traceparent"] = []string{own}
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("request %d: %w", n, err)
	}
	answer, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || string(answer) != fmt.Sprintf("ok /echo/%d", n) || resp.Header.Get("Traceparent") != "" {
		return fmt.Errorf("request %d: %s %q %v, header %v", n, resp.Status, answer, err, resp.Header)
	}
	return nil
}

func check(r *http.Request) error {
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/echo/"))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if sum := fmt.Sprint(crc32.ChecksumIEEE(body)); sum != r.Header.Get("X-Sum") {
		return fmt.Errorf("%d bytes of body have sum %s, want %s", len(body), sum, r.Header.Get("X-Sum"))
	}
	headers, _ := strconv.Atoi(r.Header.Get("X-Headers"))
	want := headers + 4 // Accept-Encoding, User-Agent, X-Sum, X-Headers
	for i := 0; i < headers; i++ {
		if got := r.Header.Get(fmt.Sprintf("X-Header-%d", i)); got != strings.Repeat("v", i*n%97) {
			return fmt.Errorf("header %d is %q", i, got)
		}
	}
	for _, h := range []string{"Traceparent", "Content-Length"} {
		if len(r.Header[h]) > 1 {
			return fmt.Errorf("%s: %q", h, r.Header[h])
		} else if len(r.Header[h]) == 1 {
			want++
		}
	}
	if len(r.Header) != want || len(r.Trailer) > 0 {
		return fmt.Errorf("%d headers, want %d: %v", len(r.Header), want, r.Header)
	}
	return nil
}
