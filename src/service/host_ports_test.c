/* SPDX-License-Identifier: Apache-2.0 */
/* Host ports of pods: where they are served, and who goes before them. */
#include "service/test_world.h"

static void SVC_44_host_ports(void)
{
	static const struct addr own[] = {{{[10] = 0xff, [11] = 0xff, [12] = 172, [13] = 16, [15] = 1}},
					  {{[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 9}}};
	struct world w = world_new();

	w.env.own = own;
	w.env.n_own = 2;
	put_host_pod(&w, "here", "a", 2, "10.0.0.1", "[{'containerPort':80,'hostPort':8080},{'containerPort':81}]");
	put_host_pod(&w, "there", "b", 1, "10.0.1.1", "[{'containerPort':80,'hostPort':8080}]");
	CHECK_STR(host_ports_of(&w, "here"), "");
	w.env.host_ports = true;
	CHECK_STR(host_ports_of(&w, "here"), "172.16.0.1:8080>10.0.0.1:80 172.16.0.1:8080*>10.0.0.1:80 "
					     "192.0.2.9:8080>10.0.0.1:80 192.0.2.9:8080*>10.0.0.1:80");
	CHECK_STR(host_ports_of(&w, "there"), "172.16.0.2:8080>10.0.1.1:80");
	put_host_pod(&w, "late", "a", 3, "10.0.0.2", "[{'containerPort':80,'hostPort':8080,'hostIP':'192.0.2.9'}]");
	CHECK_STR(host_ports_of(&w, "late"), "!host port 8080/TCP: Pod default/here has it");
	put_host_pod(&w, "udp", "a", 3, "10.0.0.2", "[{'containerPort':80,'hostPort':8080,'hostIP':'192.0.2.9','protocol':'UDP'}]");
	CHECK_STR(host_ports_of(&w, "udp"), "192.0.2.9:8080>10.0.0.2:80 192.0.2.9:8080*>10.0.0.2:80");
	put_host_pod(&w, "lost", "a", 3, "10.0.0.2", "[{'containerPort':80,'hostPort':1,'hostIP':'127.0.0.1'}]");
	CHECK_STR(host_ports_of(&w, "lost"), "!host port 1/TCP: 127.0.0.1 is no address of the node that host ports are at");
	world_done(&w);
}

/* A Service may have an address of the node, when another controller gives it one: then the port there is the Service's, and the pod's again when
 * the Service goes. */
static void SVC_44_a_services_address_is_the_services(void)
{
	static const char both[] = "172.16.0.1:8080>10.0.0.1:80 172.16.0.1:8080*>10.0.0.1:80 192.0.2.9:8080>10.0.0.1:80 192.0.2.9:8080*>10.0.0.1:80";
	struct world w = world_new();
	struct addr own[2];
	json_t *gone = world_json("{'metadata':{'name':'vip','namespace':'default'}}");

	CHECK(addr_parse("172.16.0.1", &own[0]) == 0 && addr_parse("192.0.2.9", &own[1]) == 0);
	w.env.own = own;
	w.env.held = own;
	w.env.n_own = w.env.n_held = 2;
	w.env.host_ports = w.env.external_ips = true;
	put_host_pod(&w, "here", "a", 2, "10.0.0.1", "[{'containerPort':80,'hostPort':8080}]");
	put_host_pod(&w, "named", "a", 2, "10.0.0.2", "[{'containerPort':80,'hostPort':8081,'hostIP':'192.0.2.9'}]");
	CHECK_STR(host_ports_of(&w, "here"), both);
	take_all(&w);
	claim_port(&w, "vip", "given", "192.0.2.9", 8080, "2026-01-03T00:00:00Z");
	CHECK(took(&w, "pod:here"));
	CHECK_STR(host_ports_of(&w, "here"), "172.16.0.1:8080>10.0.0.1:80 172.16.0.1:8080*>10.0.0.1:80!host port 8080/TCP at 192.0.2.9: Service "
					     "default/vip has it");
	CHECK_STR(host_ports_of(&w, "named"), "192.0.2.9:8081>10.0.0.2:80 192.0.2.9:8081*>10.0.0.2:80");
	claim_port(&w, "vip", "given", "192.0.2.9", 8081, "2026-01-03T00:00:00Z");
	CHECK(took(&w, "pod:here"));
	CHECK_STR(host_ports_of(&w, "here"), both);
	CHECK_STR(host_ports_of(&w, "named"), "!host port 8081/TCP at 192.0.2.9: Service default/vip has it");
	model_delete(w.model, MODEL_SERVICES, gone);
	CHECK(took(&w, "pod:named"));
	CHECK_STR(host_ports_of(&w, "named"), "192.0.2.9:8081>10.0.0.2:80 192.0.2.9:8081*>10.0.0.2:80");
	claim_port(&w, "vip", "external", "192.0.2.9", 8081, "2026-01-03T00:00:00Z"); /* which it does not get */
	CHECK_STR(host_ports_of(&w, "named"), "192.0.2.9:8081>10.0.0.2:80 192.0.2.9:8081*>10.0.0.2:80");
	json_decref(gone);
	world_done(&w);
}

static void SVC_44_a_service_and_an_older_pod_go_before(void)
{
	static const struct addr own = {{[10] = 0xff, [11] = 0xff, [12] = 172, [13] = 16, [15] = 1}};
	struct world w = world_new();
	json_t *gone = json_pack("{s{ss, ss}}", "metadata", "name", "old", "namespace", "default");

	w.env.own = &own;
	w.env.n_own = 1;
	w.env.host_ports = true;
	put_host_pod(&w, "old", "a", 1, "10.0.0.1", "[{'containerPort':80,'hostPort':30080}]");
	put_host_pod(&w, "new", "a", 2, "10.0.0.2", "[{'containerPort':80,'hostPort':30080,'hostIP':'0.0.0.0'}]");
	CHECK_STR(host_ports_of(&w, "new"), "!host port 30080/TCP: Pod default/old has it");
	CHECK(took(&w, "pod:new"));
	model_delete(w.model, MODEL_PODS, gone);
	CHECK(took(&w, "pod:new"));
	CHECK_STR(host_ports_of(&w, "new"), "172.16.0.1:30080>10.0.0.2:80 172.16.0.1:30080*>10.0.0.2:80");
	world_service(&w, "s", "{'type':'NodePort','clusterIP':'10.96.0.10','ports':[{'port':80,'nodePort':30080}]}", NULL);
	CHECK(took(&w, "pod:new"));
	CHECK_STR(host_ports_of(&w, "new"), "!host port 30080/TCP: it is a Service's node port");
	world_service(&w, "s", "{'type':'NodePort','clusterIP':'10.96.0.10','ports':[{'port':80,'nodePort':30081}]}", NULL);
	CHECK(took(&w, "pod:new"));
	CHECK_STR(host_ports_of(&w, "new"), "172.16.0.1:30080>10.0.0.2:80 172.16.0.1:30080*>10.0.0.2:80");
	world_service(&w, "s", "{'type':'NodePort','clusterIP':'10.96.0.10','ports':[{'port':80,'nodePort':30082}]}", NULL);
	CHECK(!took(&w, "pod:new"));
	world_service(&w, "s", "{'type':'LoadBalancer','externalTrafficPolicy':'Local','healthCheckNodePort':30080,'clusterIP':'10.96.0.10','ports':[{'port':80}]}", NULL);
	CHECK(took(&w, "pod:new"));
	CHECK_STR(host_ports_of(&w, "new"), "!host port 30080/TCP: it is a Service's node port");
	world_service(&w, "s", "{'type':'LoadBalancer','externalTrafficPolicy':'Local','healthCheckNodePort':30090,'clusterIP':'10.96.0.10','ports':[{'port':80}]}", NULL);
	CHECK(took(&w, "pod:new"));
	CHECK_STR(host_ports_of(&w, "new"), "172.16.0.1:30080>10.0.0.2:80 172.16.0.1:30080*>10.0.0.2:80");
	json_decref(gone);
	world_done(&w);
}

int main(void)
{
	RUN(SVC_44_host_ports);
	RUN(SVC_44_a_services_address_is_the_services);
	RUN(SVC_44_a_service_and_an_older_pod_go_before);
	return test_end();
}
