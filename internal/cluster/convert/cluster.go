package convert

import (
	"fmt"
	"net/netip"
	"strings"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/ca"
)

// Cluster translates a swarm. The key of its CA is not shown, and neither is the
// certificate that was asked for: sent back without its key it would be refused.
func Cluster(c *api.Cluster) swarm.Swarm {
	out := swarm.Swarm{
		ClusterInfo: swarm.ClusterInfo{
			ID: c.ID, Meta: metaOf(c.Meta), Spec: clusterSpecOf(c.Spec),
			TLSInfo:                swarm.TLSInfo{TrustRoot: string(c.RootCA.CACert)},
			RootRotationInProgress: c.RootCA.RootRotation != nil,
			DefaultAddrPool:        []netip.Prefix{},
			SubnetSize:             c.SubnetSize, DataPathPort: c.VXLANUDPPort,
		},
		JoinTokens: swarm.JoinTokens{Worker: c.RootCA.JoinTokens.Worker, Manager: c.RootCA.JoinTokens.Manager},
	}
	for _, text := range c.DefaultAddressPool {
		p, _ := netip.ParsePrefix(text) // was checked when the swarm was made
		out.DefaultAddrPool = append(out.DefaultAddrPool, p)
	}
	if issuer, err := ca.IssuerFromAPIRootCA(&c.RootCA); err == nil && issuer != nil {
		out.TLSInfo.CertIssuerSubject, out.TLSInfo.CertIssuerPublicKey = issuer.Subject, issuer.PublicKey
	}
	return out
}

func clusterSpecOf(s api.ClusterSpec) swarm.Spec {
	out := swarm.Spec{
		Annotations:   annotationsOf(s.Annotations),
		Orchestration: swarm.OrchestrationConfig{TaskHistoryRetentionLimit: &s.Orchestration.TaskHistoryRetentionLimit},
		Raft: swarm.RaftConfig{
			SnapshotInterval: s.Raft.SnapshotInterval, KeepOldSnapshots: &s.Raft.KeepOldSnapshots,
			LogEntriesForSlowFollowers: s.Raft.LogEntriesForSlowFollowers,
			HeartbeatTick:              int(s.Raft.HeartbeatTick), ElectionTick: int(s.Raft.ElectionTick),
		},
		Dispatcher:       swarm.DispatcherConfig{HeartbeatPeriod: durationOf(s.Dispatcher.HeartbeatPeriod)},
		CAConfig:         swarm.CAConfig{ForceRotate: s.CAConfig.ForceRotate, NodeCertExpiry: durationOf(s.CAConfig.NodeCertExpiry)},
		EncryptionConfig: swarm.EncryptionConfig{AutoLockManagers: s.EncryptionConfig.AutoLockManagers},
	}
	for _, x := range s.CAConfig.ExternalCAs {
		out.CAConfig.ExternalCAs = append(out.CAConfig.ExternalCAs, &swarm.ExternalCA{
			Protocol: swarm.ExternalCAProtocol(strings.ToLower(x.Protocol.String())), URL: x.URL, Options: x.Options, CACert: string(x.CACert),
		})
	}
	return out
}

// ClusterSpec translates a specification that is complete: what it leaves out gets
// swarmkit's defaults.
func ClusterSpec(s swarm.Spec) (api.ClusterSpec, error) {
	return MergeClusterSpec(s, api.ClusterSpec{})
}

// MergeClusterSpec translates a specification; what it leaves out stays as in onto.
func MergeClusterSpec(s swarm.Spec, onto api.ClusterSpec) (api.ClusterSpec, error) {
	if s.Name != "" {
		onto.Annotations.Name = s.Name
	}
	if len(s.Labels) > 0 {
		onto.Annotations.Labels = s.Labels
	}
	if limit := s.Orchestration.TaskHistoryRetentionLimit; limit != nil {
		onto.Orchestration.TaskHistoryRetentionLimit = *limit
	}
	mergeRaft(s.Raft, &onto.Raft)
	if s.Dispatcher.HeartbeatPeriod != 0 {
		onto.Dispatcher.HeartbeatPeriod = gogotypes.DurationProto(s.Dispatcher.HeartbeatPeriod)
	}
	onto.EncryptionConfig.AutoLockManagers = s.EncryptionConfig.AutoLockManagers
	return onto, mergeCA(s.CAConfig, &onto.CAConfig)
}

func mergeRaft(s swarm.RaftConfig, onto *api.RaftConfig) {
	if s.SnapshotInterval != 0 {
		onto.SnapshotInterval = s.SnapshotInterval
	}
	if s.KeepOldSnapshots != nil {
		onto.KeepOldSnapshots = *s.KeepOldSnapshots
	}
	if s.LogEntriesForSlowFollowers != 0 {
		onto.LogEntriesForSlowFollowers = s.LogEntriesForSlowFollowers
	}
	if s.HeartbeatTick != 0 {
		onto.HeartbeatTick = uint32(s.HeartbeatTick)
	}
	if s.ElectionTick != 0 {
		onto.ElectionTick = uint32(s.ElectionTick)
	}
}

func mergeCA(s swarm.CAConfig, onto *api.CAConfig) error {
	if s.NodeCertExpiry != 0 {
		onto.NodeCertExpiry = gogotypes.DurationProto(s.NodeCertExpiry)
	}
	if s.SigningCACert != "" {
		onto.SigningCACert = []byte(s.SigningCACert)
	}
	if s.SigningCAKey != "" {
		onto.SigningCAKey = []byte(s.SigningCAKey)
	}
	onto.ForceRotate = s.ForceRotate
	for _, x := range s.ExternalCAs {
		if x == nil {
			return fmt.Errorf("invalid protocol: %q", "")
		}
		protocol, ok := api.ExternalCA_CAProtocol_value[strings.ToUpper(string(x.Protocol))]
		if !ok {
			return fmt.Errorf("invalid protocol: %q", x.Protocol)
		}
		onto.ExternalCAs = append(onto.ExternalCAs, &api.ExternalCA{
			Protocol: api.ExternalCA_CAProtocol(protocol), URL: x.URL, Options: x.Options, CACert: []byte(x.CACert),
		})
	}
	return nil
}
