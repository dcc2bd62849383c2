package convert

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
)

// TestWhatIsReadCanBeSentBack: clients read a specification, change one field and send
// all of it.
func TestWhatIsReadCanBeSentBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		in := api.ClusterSpec{
			Annotations:   api.Annotations{Name: "default", Labels: map[string]string{"a": string(rune('a' + r.IntN(26)))}},
			Orchestration: api.OrchestrationConfig{TaskHistoryRetentionLimit: r.Int64N(10)},
			Raft: api.RaftConfig{SnapshotInterval: 1 + r.Uint64N(9), KeepOldSnapshots: r.Uint64N(9), LogEntriesForSlowFollowers: 1 + r.Uint64N(9),
				HeartbeatTick: 1 + r.Uint32N(9), ElectionTick: 1 + r.Uint32N(9)},
			Dispatcher:       api.DispatcherConfig{HeartbeatPeriod: gogotypes.DurationProto(time.Duration(1 + r.Int64N(1e10)))},
			CAConfig:         api.CAConfig{NodeCertExpiry: gogotypes.DurationProto(time.Duration(1 + r.Int64N(1e15))), ForceRotate: r.Uint64N(3)},
			EncryptionConfig: api.EncryptionConfig{AutoLockManagers: r.IntN(2) == 0},
		}
		for range r.IntN(3) {
			in.CAConfig.ExternalCAs = append(in.CAConfig.ExternalCAs, &api.ExternalCA{URL: "https://ca", Options: map[string]string{"k": "v"}, CACert: []byte("pem")})
		}
		out, err := ClusterSpec(Cluster(&api.Cluster{Spec: in}).Spec)
		if err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("%+v\nbecame %+v, %v", in, out, err)
		}
	}
	for role := range api.NodeRole_name {
		for availability := range api.NodeSpec_Availability_name {
			in := api.NodeSpec{Annotations: api.Annotations{Name: "n", Labels: map[string]string{"l": "1"}},
				DesiredRole: api.NodeRole(role), Availability: api.NodeSpec_Availability(availability)}
			if out, err := NodeSpec(Node(&api.Node{Spec: in}).Spec); err != nil || !reflect.DeepEqual(in, out) {
				t.Errorf("%+v became %+v, %v", in, out, err)
			}
		}
	}
}

// TestTheKeyOfTheCAIsNotShown: what is shown of a swarm has no secrets but its tokens.
func TestTheKeyOfTheCAIsNotShown(t *testing.T) {
	got := Cluster(&api.Cluster{Spec: api.ClusterSpec{CAConfig: api.CAConfig{SigningCAKey: []byte("key"), SigningCACert: []byte("cert")}}})
	if ca := got.Spec.CAConfig; ca.SigningCAKey != "" || ca.SigningCACert != "" {
		t.Errorf("%+v is shown", ca)
	}
}

func TestRefusals(t *testing.T) {
	for _, s := range []swarm.NodeSpec{{Role: "king", Availability: "active"}, {Role: "worker", Availability: "asleep"}, {}} {
		if _, err := NodeSpec(s); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	if _, err := ClusterSpec(swarm.Spec{CAConfig: swarm.CAConfig{ExternalCAs: []*swarm.ExternalCA{{Protocol: "smoke"}}}}); err == nil {
		t.Error("a CA of another protocol is taken")
	}
	if _, err := ClusterSpec(swarm.Spec{CAConfig: swarm.CAConfig{ExternalCAs: []*swarm.ExternalCA{nil}}}); err == nil {
		t.Error("a CA that is null is taken")
	}
}
