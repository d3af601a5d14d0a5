// Orders in MongoDB: documents written and read, a cursor over several batches,
// an aggregation, what is not found, a command that fails, calls without the
// context. It needs a server: MONGO_URI says where.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	ctx := context.Background()
	// The program's own monitor, which looks at the context.
	monitor := &event.CommandMonitor{Started: func(ctx context.Context, e *event.CommandStartedEvent) {
		if e.CommandName == "update" {
			slog.InfoContext(ctx, "monitored")
		}
	}}
	client, err := mongo.Connect(options.Client().ApplyURI(os.Getenv("MONGO_URI")).SetMonitor(monitor))
	must(err)
	shopDB := client.Database("mongo_shop")
	orders := shopDB.Collection("orders")
	must(orders.Drop(ctx))

	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		_, err := orders.InsertOne(ctx, bson.M{"_id": 7, "item": "tea"})
		must(err)
		_, err = orders.InsertMany(ctx, []any{bson.M{"_id": 8, "item": "milk"}, bson.M{"_id": 9, "item": "sugar"}})
		must(err)
		_, err = orders.UpdateOne(ctx, bson.M{"_id": 7}, bson.M{"$set": bson.M{"item": "coffee"}})
		must(err)
		slog.InfoContext(ctx, "orders made", "number", 3)
	})
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		var one bson.M
		must(orders.FindOne(ctx, bson.M{"_id": 7}).Decode(&one))
		if err := orders.FindOne(ctx, bson.M{"_id": 10}).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
			panic(err)
		}
		cursor, err := orders.Find(ctx, bson.M{}, options.Find().SetBatchSize(2))
		must(err)
		var all []bson.M
		must(cursor.All(ctx, &all))
		fmt.Fprintln(w, one["item"], len(all))
	})
	// The context does not come along.
	mux.HandleFunc("GET /blind", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("counted")
		n, err := orders.CountDocuments(context.Background(), bson.M{})
		must(err)
		fmt.Fprintln(w, n)
	})
	mux.HandleFunc("POST /twice", func(w http.ResponseWriter, r *http.Request) {
		if _, err := orders.InsertOne(r.Context(), bson.M{"_id": 7}); mongo.IsDuplicateKeyError(err) {
			http.Error(w, "the order is there", http.StatusConflict)
		}
	})
	mux.HandleFunc("GET /wrong", func(w http.ResponseWriter, r *http.Request) {
		if err := shopDB.RunCommand(r.Context(), bson.M{"noSuchCommand": 1}).Err(); err != nil {
			http.Error(w, "there is no such command", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("DELETE /orders", func(w http.ResponseWriter, r *http.Request) {
		_, err := orders.DeleteMany(r.Context(), bson.M{"item": "milk"})
		must(err)
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	for _, c := range [][2]string{{"POST", "/orders"}, {"GET", "/orders/7"}, {"GET", "/blind"}, {"POST", "/twice"}, {"GET", "/wrong"}, {"DELETE", "/orders"}} {
		req, err := http.NewRequest(c[0], shop.URL+c[1], nil)
		must(err)
		resp, err := http.DefaultClient.Do(req)
		must(err)
		must(resp.Body.Close())
		fmt.Println(c[0], c[1], resp.StatusCode)
	}
	must(client.Disconnect(ctx))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
