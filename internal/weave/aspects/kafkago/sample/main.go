// Orders over Kafka with segmentio/kafka-go: messages written one by one and
// together, from requests with their context and without it; a group that reads
// them and answers into another topic; a topic that does not exist. The cluster
// is franz-go's, which speaks the protocol, within the process.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "invoices"))
	must(err)
	defer cluster.Close()
	// Writes go out at once: each has its own result.
	writer := &kafka.Writer{Addr: kafka.TCP(cluster.ListenAddrs()...), BatchSize: 1, MaxAttempts: 1}
	defer writer.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		must(writer.WriteMessages(r.Context(), kafka.Message{Topic: "orders", Key: []byte("7"), Value: []byte("tea")}))
		slog.InfoContext(r.Context(), "order sent", "order", 7)
	})
	// The context does not come along.
	mux.HandleFunc("POST /blind", func(w http.ResponseWriter, r *http.Request) {
		must(writer.WriteMessages(context.Background(), kafka.Message{Topic: "orders", Value: []byte("milk")}))
	})
	mux.HandleFunc("POST /many", func(w http.ResponseWriter, r *http.Request) {
		must(writer.WriteMessages(r.Context(), kafka.Message{Topic: "invoices", Value: []byte("a")}, kafka.Message{Topic: "invoices", Value: []byte("b")}))
	})
	mux.HandleFunc("POST /nowhere", func(w http.ResponseWriter, r *http.Request) {
		if err := writer.WriteMessages(r.Context(), kafka.Message{Topic: "nowhere", Value: []byte("tea")}); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	for _, path := range []string{"/orders", "/blind", "/many", "/nowhere"} {
		resp, err := http.Post(shop.URL+path, "text/plain", nil)
		must(err)
		must(resp.Body.Close())
		fmt.Println(path, resp.StatusCode)
	}

	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: cluster.ListenAddrs(), GroupID: "billing", Topic: "orders", StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond})
	defer reader.Close()
	for range 2 {
		m, err := reader.ReadMessage(ctx)
		must(err)
		slog.Info("order received", "item", string(m.Value))
		// The answer belongs to what is answered, context or not.
		must(writer.WriteMessages(context.Background(), kafka.Message{Topic: "invoices", Value: m.Value}))
	}
	fmt.Println("read")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
