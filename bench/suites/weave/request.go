package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guanlan-io/guanlan/bench/report"
	"github.com/guanlan-io/guanlan/bench/suite"
)

// workload is requests of one kind at a fixed rate.
type workload struct {
	name        string
	rate        int // a second
	connections int
	request     string
	status      int
	to          func(*shop) string
	note        string
	// tight says that little but the instrumentation is in the request's cost, so
	// that what was added can be compared, too.
	tight bool
}

const placeOrder = `{"sku":"tea-longjing","quantity":1,"city":"上海","card":"card-visa"}`

var (
	readProduct = workload{"product from the cache (net/http, Redis)", 2000, 16, "GET /products/tea-puer HTTP/1.1\r\nHost: shop\r\n\r\n", http.StatusOK,
		func(s *shop) string { return s.inventory }, "", true}
	// Four packers at 50 ms an order are the bound: 80 a second.
	order = workload{"order (Gin, gRPC, HTTP, SQL, Redis, logs)", 60, 12,
		fmt.Sprintf("POST /api/orders HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(placeOrder), placeOrder), http.StatusCreated,
		func(s *shop) string { return s.gateway }, "by hand, channel and pool have spans too, and the shop metrics of its own", false}
)

// tail is how long after a round what it left to do still counts as its cost:
// twice the pause between two exports.
const tail = time.Second

// request compares what a request costs the services: user and system time of
// their processes while requests come at a fixed rate, in turns, so that the
// machine's mood is the same for all.
func (s *run) request(ctx context.Context) error {
	subjects := []string{subjectPlain, subjectSDK, subjectWoven}
	shops, receivers := map[string]*shop{}, map[string]*receiver{}
	for _, subject := range subjects {
		r, stop, err := listen(false)
		if err != nil {
			return err
		}
		defer stop()
		receivers[subject] = r
		sh, err := s.open(ctx, subject, r.url)
		if err != nil {
			return err
		}
		defer sh.close()
		shops[subject] = sh
	}
	for _, w := range []workload{readProduct, order} {
		costs := map[string][]float64{}
		for round := range s.rounds + 1 {
			for _, subject := range subjects {
				before := shops[subject].cpu()
				n, err := w.offer(ctx, shops[subject], s.each)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, subject, err)
				}
				select {
				case <-time.After(tail):
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				if round > 0 { // the first one warms up
					costs[subject] = append(costs[subject], float64((shops[subject].cpu()-before).Microseconds())/float64(n))
				}
			}
		}
		cost := map[string]float64{}
		for _, subject := range subjects {
			note := suite.Spread(costs[subject], "µs")
			cost[subject] = suite.Median(costs[subject])
			s.Report.Add(report.Row{Part: "request", Metric: w.name + ", CPU", Subject: subject, Value: cost[subject], Unit: "µs", Note: note})
		}
		s.Report.Add(report.Row{Part: "request", Metric: w.name + ", to the SDK by hand", Subject: subjectWoven, Value: cost[subjectWoven] / cost[subjectSDK], Unit: "×", Target: "<= 1.5", Note: w.note})
		s.Report.Add(report.Row{Part: "request", Metric: w.name + ", to plain", Subject: subjectWoven, Value: cost[subjectWoven] / cost[subjectPlain], Unit: "×"})
		if w.tight {
			s.Report.Add(report.Row{Part: "request", Metric: w.name + ", added, to the SDK by hand", Subject: subjectWoven,
				Value: (cost[subjectWoven] - cost[subjectPlain]) / (cost[subjectSDK] - cost[subjectPlain]), Unit: "×", Target: "<= 1.5", Note: "both over plain"})
		}
	}
	for subject, r := range receivers {
		// What sends nothing costs little.
		if sends := r.exports.Load() > 0; sends != (subject != subjectPlain) {
			return fmt.Errorf("%s has sent %d times: the figures are of something else", subject, r.exports.Load())
		}
	}
	return nil
}

// lost counts the spans of requests that were answered and did not arrive.
func (s *run) lost(ctx context.Context) error {
	r, stop, err := listen(true)
	if err != nil {
		return err
	}
	defer stop()
	sh, err := s.open(ctx, subjectWoven, r.url)
	if err != nil {
		return err
	}
	w := readProduct
	w.rate, w.connections = 5000, 32
	// The product comes into the cache.
	first, err := w.offer(ctx, sh, 100*time.Millisecond)
	if err != nil {
		sh.close()
		return err
	}
	began := time.Now()
	n, err := w.offer(ctx, sh, s.heavy)
	took := time.Since(began)
	sh.close() // sends what it has
	if err != nil {
		return err
	}
	if f := r.failed.Load(); f > 0 {
		return fmt.Errorf("BUG: %d requests to the receiver were not understood", f)
	}
	s.Report.Add(report.Row{Part: "lost", Metric: "requests answered a second", Subject: subjectWoven, Value: float64(n) / took.Seconds(), Unit: "/s", Target: ">= 4900",
		Note: fmt.Sprintf("5,000/s were offered for %v", s.heavy)})
	s.Report.Add(report.Row{Part: "lost", Metric: "spans of servers lost", Subject: subjectWoven, Value: float64(int64(n+first) - r.servers.Load()), Target: "<= 0",
		Note: fmt.Sprintf("%d requests answered, %d spans of servers and %d others at the receiver", n+first, r.servers.Load(), r.others.Load())})
	return nil
}

// offer sends requests at a steady rate for a while, and returns how many were
// answered. Its client is as light as can be, as it shares the machine with the
// services.
func (w workload) offer(ctx context.Context, sh *shop, length time.Duration) (n int, err error) {
	var answered atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	gap := time.Second * time.Duration(w.connections) / time.Duration(w.rate)
	began := time.Now().Add(10 * time.Millisecond)
	for c := range w.connections {
		wg.Go(func() {
			if e := w.call(ctx, w.to(sh), began.Add(gap*time.Duration(c)/time.Duration(w.connections)), began.Add(length), gap, &answered); e != nil {
				mu.Lock()
				defer mu.Unlock()
				err = errors.Join(err, e)
			}
		})
	}
	wg.Wait()
	if err == nil && answered.Load() == 0 {
		err = errors.New("no request was answered")
	}
	return int(answered.Load()), errors.Join(err, ctx.Err())
}

// call sends requests over one connection, each when it is due, or at once when
// the one before was late.
func (w workload) call(ctx context.Context, addr string, due, end time.Time, gap time.Duration, answered *atomic.Int64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	request, answers := []byte(w.request), bufio.NewReader(conn)
	for ; due.Before(end) && ctx.Err() == nil; due = due.Add(gap) {
		time.Sleep(time.Until(due))
		if _, err := conn.Write(request); err != nil {
			return err
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != w.status {
			return fmt.Errorf("the service answers %s, error %v", res.Status, err)
		}
		answered.Add(1)
	}
	return nil
}
