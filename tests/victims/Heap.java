import java.util.ArrayList;
import java.util.List;

/** Fills its heap until the JVM has no more, so that -XX:+HeapDumpOnOutOfMemoryError leaves an hprof of live objects. */
public final class Heap {
    /** What the heap is full of: a dump is only useful if such objects can be found in it. */
    static final class Order {
        final String customer;
        final byte[] body = new byte[16 * 1024];

        Order(int number) {
            customer = "customer-" + number;
        }
    }

    private static final List<Order> KEPT = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        System.out.println("ready");
        System.in.read();
        for (int number = 0; ; number++) {
            KEPT.add(new Order(number));
        }
    }
}
