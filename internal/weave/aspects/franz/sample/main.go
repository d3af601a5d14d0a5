// Orders over Kafka with franz-go: records sent one by one and together, from
// requests with their context and without it; a group that consumes them and
// answers into another topic, whose records are taken all at once; a topic that
// does not exist. The cluster is franz-go's own, which speaks the protocol, within
// the process.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "invoices"))
	must(err)
	defer cluster.Close()
	producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.UnknownTopicRetries(0))
	must(err)
	defer producer.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		must(producer.ProduceSync(r.Context(), &kgo.Record{Topic: "orders", Key: []byte("7"), Value: []byte("tea")}).FirstErr())
		slog.InfoContext(r.Context(), "order sent", "order", 7)
	})
	// The context does not come along.
	mux.HandleFunc("POST /blind", func(w http.ResponseWriter, r *http.Request) {
		done := make(chan error)
		producer.Produce(context.Background(), &kgo.Record{Topic: "orders", Value: []byte("milk")}, func(_ *kgo.Record, err error) { done <- err })
		must(<-done)
	})
	mux.HandleFunc("POST /many", func(w http.ResponseWriter, r *http.Request) {
		must(producer.ProduceSync(r.Context(), &kgo.Record{Topic: "invoices", Value: []byte("a")}, &kgo.Record{Topic: "invoices", Value: []byte("b")}).FirstErr())
	})
	mux.HandleFunc("POST /nowhere", func(w http.ResponseWriter, r *http.Request) {
		err := producer.ProduceSync(r.Context(), &kgo.Record{Topic: "nowhere", Value: []byte("tea")}).FirstErr()
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			panic(err)
		}
		http.Error(w, err.Error(), http.StatusBadGateway)
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	for _, path := range []string{"/orders", "/blind", "/many", "/nowhere"} {
		resp, err := http.Post(shop.URL+path, "text/plain", nil)
		must(err)
		must(resp.Body.Close())
		fmt.Println(path, resp.StatusCode)
	}

	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(err)
	defer consumer.Close()
	for n := 0; n < 2; {
		fetches := consumer.PollFetches(ctx)
		must(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			n++
			slog.InfoContext(record.Context, "order received", "item", string(record.Value))
			// The answer belongs to what is answered, context or not.
			invoice := &kgo.Record{Topic: "invoices", Value: record.Value}
			must(producer.ProduceSync(context.Background(), invoice).FirstErr())
		})
	}
	must(consumer.CommitUncommittedOffsets(ctx))
	fmt.Println("consumed")

	// Records of a whole poll at once: what is done then belongs to all of them.
	archive, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("invoices"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(err)
	defer archive.Close()
	for n := 0; n < 4; {
		fetches := archive.PollFetches(ctx)
		must(fetches.Err())
		for _, record := range fetches.Records() {
			n++
			slog.Info("invoice archived", "item", string(record.Value))
		}
	}
	fmt.Println("archived")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
