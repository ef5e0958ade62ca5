import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.List;
import sun.misc.Unsafe;

/** Crash MODE: one way of dying each, with a fatal error log: unsafe, worker, oom; anything else waits to be killed. */
public final class Crash {
    static void poke(Unsafe unsafe) {
        unsafe.putAddress(16, 1);
    }

    static void deeper(int level, Unsafe unsafe) {
        if (level == 0) {
            poke(unsafe);
        } else {
            deeper(level - 1, unsafe);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Field field = Unsafe.class.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        Unsafe unsafe = (Unsafe) field.get(null);
        System.out.println("ready");
        System.in.read();
        switch (arguments[0]) {
            case "unsafe":
                deeper(3, unsafe);
                break;
            case "worker":
                // Its name looks like the log's own words.
                Thread worker = new Thread(() -> deeper(3, unsafe), "order id=1, tid=2 worker");
                worker.start();
                worker.join();
                break;
            case "oom":
                List<byte[]> kept = new ArrayList<>();
                while (true) {
                    kept.add(new byte[64 * 1024]);
                }
            default:
                Thread.sleep(Long.MAX_VALUE);
        }
    }
}
